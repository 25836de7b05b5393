"""Plan -> tensors: every tensor is written once, and only by `writing.py`."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from initium.cluster import Ranks, ranks_of
from initium.config import InitCfg
from initium.given import check_is, check_model
from initium.here import recorder_here, unseen
from initium.outcome import report_of
from initium.planning import Plan, plan_config, remember_plan
from initium.protection import protect_loaded
from initium.recorded import at_once, note
from initium.report import Report, log
from initium.report.progress import progress
from initium.seeds import drawn_seed, fresh_seed
from initium.shard import held
from initium.streams import Generators, Seed
from initium.todo import ToDo, Wanted, just_planned, stream_keys, to_do
from initium.tree import Tree
from initium.turns import turns
from initium.writes import Load
from initium.writing import Target, Writer


def apply(plan: Plan, model: nn.Module) -> Report:
    """Carry out a plan: every tensor is written once.

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
    check_is("plan", plan, Plan, "an initium.Plan")
    check_model(model)
    # what is opened only now is opened for this time: the next time the file may be another one
    return apply_where(replace(plan, files=plan.files.copy()), model, lambda *_: True)


def apply_where(
    plan: Plan,
    model: nn.Module,
    wanted: Wanted,
    tree: Tree | None = None,
) -> Report:
    """Carry out a plan for the tensors that are `wanted`; the others have their values.

    With the tree that it was just made of, what was checked then is not checked again.
    """
    recorder = recorder_here()
    with unseen():
        ranks = ranks_of(model if tree is None else tree.root)
        noted = recorder is not None  # then memory is asked for later
        with ranks.together():
            if tree is None:
                todo = to_do(plan, Tree(model), on_meta=noted, wanted=wanted)
            else:
                todo = just_planned(plan, tree, on_meta=noted, wanted=wanted)
        if not noted:
            return carry_out(agreed(plan, ranks), model, todo, ranks)
        if recorder.exact:
            with at_once(recorder, model) as happened:
                return happened(carry_out(agreed(plan, ranks), model, todo, ranks))
    return note(plan, todo, recorder.write)


def carry_out(plan: Plan, model: nn.Module, todo: ToDo, ranks: Ranks) -> Report:
    """Write what is to be done by a plan that the ranks have agreed on; what has happened."""
    with ranks.together():
        not_finite = _write(plan, todo)
    with ranks.together():
        if any(isinstance(writes[-1], Load) for _, writes in todo):
            # the rank that shows warnings may have seen only its own shards
            log.warn(NOT_FINITE.format(name) for name in ranks.gathered(not_finite))
    remember_plan(model, plan)
    return report_of(plan)


def agreed(plan: Plan, ranks: Ranks) -> Plan:
    """The plan with a seed, once it is known that all ranks have the same.

    Raises:
        InitError: they have not; on every rank.
    """
    if plan.seed is None and plan.rng != "torch":
        plan = replace(plan, seed=ranks.first(drawn_seed()) if ranks else fresh_seed())
    if ranks:
        ranks.agree(plan.digest, plan.said)
    return plan


def _write(plan: Plan, todo: ToDo) -> dict[str, None]:
    """Write; the names of the tensors that got NaN or infinite values from a checkpoint."""
    generators = None
    if plan.rng == "torch":
        assert plan.seed is None or isinstance(plan.seed, int)  # the plan has seen to it
        generators = Generators(plan.seed)
    total = sum(held(slot.tensor) for slot, _ in todo)
    with progress(f"initializing {plan.model}", total) as advance:
        writer = Writer(stream_keys(plan.seed), plan.files, generators, advance)
        for turn in turns(todo):
            writer.write(Target(s.name, s.path, s.tensor, writes) for s, writes in turn)
    for slot, writes in todo:
        if isinstance(writes[-1], Load):
            protect_loaded(slot, writes[-1])
    return writer.not_finite


NOT_FINITE = "{}: the checkpoint has NaN or infinite values for it; they were loaded as they are"


def initialize(
    model: nn.Module,
    init_cfg: InitCfg,
    *,
    seed: Seed | None = None,
    rng: str = "philox",
    strict: bool = False,
    cover: str | None = None,
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
        cover: `'all'`: a parameter that no rule sets is a finding, too.

    Returns:
        what happened to every tensor.

    Raises:
        InitError: something in the config cannot be carried out; the model is as it was.

    >>> model = nn.Sequential(nn.Conv1d(3, 1, 3), nn.Linear(1, 2))
    >>> report = initialize(model, dict(type="Constant", layer="Linear", val=1, bias=2))
    >>> model[1].weight.tolist(), model[1].bias.tolist()
    ([[1.0], [1.0]], [2.0, 2.0])
    """
    check_model(model)
    with unseen(), ranks_of(model).together():
        plan, tree = plan_config(model, init_cfg, seed=seed, rng=rng, strict=strict, cover=cover)
    return start(plan, model, tree)


def start(plan: Plan, model: nn.Module, tree: Tree) -> Report:
    """Announce and apply a plan that was just made of this tree."""
    with ranks_of(model).together():  # where warnings are errors, on the one rank that warns
        announce(plan)
    return apply_where(plan, model, lambda *_: True, tree)


def announce(plan: Plan) -> None:
    """Show a plan's warnings, and name the checkpoints that will be loaded."""
    log.warn(finding.message for finding in plan.findings if finding.warned)
    loads = [w for line in plan for w in line.carried_out if isinstance(w, Load)]
    for path in dict.fromkeys(load.checkpoint for load in loads):
        scheme = path.partition("://")[0] if "://" in path else "local"
        log.say(f"load model from: {path}")
        log.say(f"{scheme} loads checkpoint from path: {path}")
    for loading in plan.loadings:
        log.say(loading.describe(plan.rule_of))
