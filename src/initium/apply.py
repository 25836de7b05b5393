"""Plan -> tensors: every tensor is written once, and only by `writing.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeGuard, cast

from torch import Tensor, nn

from initium.checkpoint import Entry, read_checkpoint
from initium.config import InitCfg
from initium.errors import InitError, InitNameError, did_you_mean, located
from initium.initializers import Keep, check_tensor
from initium.planning import Call, Fill, Line, Load, Plan, Write, plan_config
from initium.report import Entry as Happened
from initium.report import Report, log
from initium.report.progress import progress
from initium.run import Run, current_run, running
from initium.streams import Seed, check_memory
from initium.tree import Slot, Tree, is_lazy
from initium.writing import Target, Writer


def apply(plan: Plan, model: nn.Module) -> Report:
    """Carry out a plan: every tensor is written once, user code runs in its place.

    Args:
        plan: made for this model, or loaded from a file.
        model: its tensors must have the names, shapes and dtypes of the plan's lines.

    Returns:
        what happened to every tensor.

    Raises:
        InitError: the plan is of another model, tensors are on `meta`, or a checkpoint cannot be
            read; nothing was written.

    >>> import initium
    >>> model, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> plan = initium.plan(model, dict(type="Normal", std=0.02, layer="Linear"), seed=7)
    >>> initium.apply(plan, model).counts, initium.apply(plan, twin).counts
    ({'filled': 2}, {'filled': 2})
    >>> model.weight.equal(twin.weight)
    True
    """
    with running(model, plan.seed, plan.rng) as run:
        carry_out(plan, model, run)
        return report_of(plan, run)


def carry_out(plan: Plan, model: nn.Module, run: Run, as_user_code: bool = False) -> None:
    """Write what a plan says for `model`, which may be a part of the run's model.

    With `as_user_code` the writes are not credited here: they are found as what user code did.
    """
    tree = run.ledger.tree if model is run.ledger.tree.root else Tree(model)
    events = list(_events(plan, tree))
    total = sum(slot.tensor.numel() for slot, _ in events if slot is not None)
    key = run.keys(run.prefix(model) or "", as_user_code)
    with progress(f"initializing {plan.model}", total) as advance:
        writer = Writer(run.generators, advance)
        # all tensors between two calls of user code are written together
        for is_call, together in groupby(events, lambda event: event[0] is None):
            if is_call:
                for _, call in together:
                    _call(cast(Call, call), tree, run)
                continue
            writes = [(slot, write) for slot, write in together if slot and _is_data(write)]
            writer.write(Target(s.name, s.tensor, write, key(s.path)) for s, write in writes)
            if not as_user_code:
                for slot, write in writes:
                    _credit(slot, write, run)


def _events(plan: Plan, tree: Tree) -> Iterator[tuple[Slot | None, Write]]:
    """What is to be done, in order; everything that can be wrong is found before the first."""
    slots = {slot.name: slot for slot in tree.slots}
    files: dict[tuple[str, str], dict[str, Entry]] = {}
    events: list[tuple[int, Slot | None, Write]] = [(call.order, None, call) for call in plan.calls]
    for call in plan.calls:
        if call.module not in tree.modules:
            raise InitNameError(f"{tree.root.__class__.__name__} has no module {call.module!r}")
        if call.run is None and not callable(getattr(tree.modules[call.module], call.method, None)):
            raise InitError(
                f"{call.source} cannot be called: the plan comes from a file, which does not hold "
                "the code of initializers, or the module has no init_weights; make the plan anew"
            )
    for line in plan:
        slot = slots.get(line.name)
        if slot is None:
            raise InitNameError(
                f"the plan of {plan.model} has a tensor {line.name}, "
                f"which {type(tree.root).__name__} has not.{did_you_mean(line.name, slots)}"
            )
        if line.write is not None:
            with located(line.name):
                _check(slot.tensor, line, line.write)
                events.append((line.write.order, slot, _ready(line.write, files)))
    # a stable sort: within one rule, the model's order
    return ((slot, write) for _, slot, write in sorted(events, key=lambda event: event[0]))


def _check(tensor: Tensor, line: Line, write: Fill | Load) -> None:
    if tuple(tensor.shape) != line.shape:
        raise InitError(
            f"the plan is for the shape {list(line.shape)}, but it is {list(tensor.shape)}"
        )
    if tensor.is_meta:
        raise InitError(
            "this tensor is on the meta device and has no memory; "
            "call model.to_empty(device=...), then initialize"
        )
    if isinstance(write, Fill):
        check_tensor(tensor, write.initializer)
    else:
        check_memory(tensor)


def _ready(write: Fill | Load, files: dict[tuple[str, str], dict[str, Entry]]) -> Fill | Load:
    """The write with a handle on its checkpoint, where it came from a plan file without one."""
    if isinstance(write, Fill) or write.entry is not None:
        return write
    at = (write.checkpoint, write.map_location)
    if at not in files:
        files[at] = read_checkpoint(*at)
    if write.key not in files[at]:
        raise InitError(f"the checkpoint {write.checkpoint} has no key {write.key!r}")
    return replace(write, entry=files[at][write.key])


def _is_data(write: Write) -> TypeGuard[Fill | Load]:
    return not isinstance(write, Call)


def _credit(slot: Slot, write: Fill | Load, run: Run) -> None:
    places = [(id(place.owner), place.local) for place in slot.places()]
    kept = isinstance(write, Fill) and isinstance(write.initializer, Keep)
    kind = "loaded" if isinstance(write, Load) else "kept" if kept else "filled"
    info = _same(run) if kept else write.info
    run.ledger.credit(places, kind, info, write.source)


def _call(call: Call, tree: Tree, run: Run) -> None:
    """Run user code and find out what it wrote."""
    module = tree.modules[call.module]
    with run.ledger.watching(module, call.info, call.source):
        if call.run is not None:
            call.run(module)
        else:
            cast(Any, module).init_weights()  # the plan saw that it can be called


def _same(run: Run) -> str:
    model = type(run.ledger.tree.root).__name__
    return f"The value is the same before and after calling `init_weights` of {model}"


def report_of(plan: Plan, run: Run) -> Report:
    """What has happened to the tensors of the run's model."""
    ledger = run.ledger
    entries = []
    for slot in ledger.tree.slots:
        credit = ledger.credits.get(slot)
        if credit is not None or not slot.is_buffer:
            kind, info, source = credit or ("unset", _same(run), "")
            shape = tuple(slot.tensor.shape) if not is_lazy(slot.tensor) else ()
            entries.append(Happened(slot.name, shape, kind, info, source))
    findings = tuple(finding.message for finding in plan.findings)
    return Report(plan.model, run.seed, tuple(entries), findings)


def initialize(
    model: nn.Module,
    init_cfg: InitCfg,
    *,
    seed: Seed | None = None,
    rng: str = "philox",
    strict: bool = False,
) -> Report:
    """Initialise any module by a config: plan, then apply.

    Only this config counts; `init_cfg` and `init_weights` of the modules below are left alone
    (`BaseModule.init_weights` takes them all together).

    Args:
        model: any `nn.Module`.
        init_cfg: a rule, or a list of rules in rising precedence.
        seed: an int, a str or a tuple of them; None draws one from torch's default generator.
        rng: `'philox'`: each tensor has its own stream; `'torch'`: torch's own functions draw one
            tensor after the other, with a generator that is seeded with `seed` (an int), or with
            torch's default one.
        strict: what would be a warning is an error: a rule without effect, a key that is not
            loaded; and a tensor that nothing sets.

    Returns:
        what happened to every tensor.

    Raises:
        InitError: something in the config cannot be carried out; the model is as it was.

    >>> model = nn.Sequential(nn.Conv1d(3, 1, 3), nn.Linear(1, 2))
    >>> report = initialize(model, dict(type="Constant", layer="Linear", val=1, bias=2))
    >>> model[1].weight.tolist(), model[1].bias.tolist()
    ([[1.0], [1.0]], [2.0, 2.0])
    """
    return start(plan_config(model, init_cfg, seed=seed, rng=rng, strict=strict), model)


def start(plan: Plan, model: nn.Module) -> Report:
    """Announce and apply a plan that was just made, as part of a run that is going on, if any."""
    announce(plan)
    run = current_run()
    if run is not None and run.prefix(model) is not None:
        carry_out(plan, model, run, as_user_code=True)
        return report_of(plan, run)
    return apply(plan, model)


def announce(plan: Plan) -> None:
    """Show a plan's warnings, and name the checkpoints that will be loaded."""
    log.warn(finding.message for finding in plan.findings if finding.warned)
    loads = [line.write for line in plan if isinstance(line.write, Load)]
    for path in dict.fromkeys(load.checkpoint for load in loads):
        log.say(f"load model from: {path}")
        log.say(f"local loads checkpoint from path: {path}")
