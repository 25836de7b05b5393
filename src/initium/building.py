"""Constructors of others, run while a recorder is on: `build`, `recording`, `materialize`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from initium import zero3
from initium.apply import announce, apply_where
from initium.config import InitCfg
from initium.errors import InitError, InitTypeError
from initium.here import unseen
from initium.placing import check_place, place
from initium.planning import Declaring, Plan, Planner, declare, remember, remember_plan
from initium.record import Recorder, is_plain, recorded_by
from initium.seeds import fresh_seed_within
from initium.streams import Seed, check_seed
from initium.tree import Slot, Tree
from initium.writes import RULE, Write

Model = TypeVar("Model", bound=nn.Module)


def build(
    factory: Callable[[], Model],
    *,
    seed: Seed | None = None,
    init_cfg: InitCfg | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    strict: bool = False,
    exact: bool = False,
    cover: str | None = None,
) -> Model:
    """Run a constructor, and fill every tensor of the model that it makes once, in parallel.

    The constructor runs as it is, while a recorder notes what it would write. Rules come on top of
    what it wrote; then all is filled. `plan_of(model)` is the plan, with the line of code behind
    every write.

    Args:
        factory: makes the model: a class, or `lambda: AutoModel.from_config(config)`.
        seed: an int, a str or a tuple of them; None draws one from torch's default generator,
            which is left alone otherwise.
        init_cfg: a rule, or a list of rules in rising precedence. Where the model is a
            `BaseModule`, what it declares itself comes after them.
        dtype: of floating-point parameters and buffers. Values are what `model.to(dtype)` would
            make of them, kept within the bounds of their distribution.
        device: where they shall be. `'meta'`: without memory, for `materialize`.
        strict: what would be a warning is an error: a rule without effect, a tensor that is never
            written.
        exact: the constructor's own values, bit for bit: everything is run in its order on torch's
            default generators, nothing is dropped. For checking, and to reproduce old runs. Say
            `torch.manual_seed` in place of `seed`.
        cover: `'all'`: a parameter that has only what its constructor gives it is a finding, too.

    Raises:
        InitError: something cannot be carried out, or, in strict mode, has no effect; torch's
            default generator is as it was.
        InitTypeError: a TypeError; the factory is none, or returns no module.

    >>> import initium
    >>> model = build(lambda: nn.Linear(3, 2), seed=7)
    >>> print(initium.plan_of(model)["bias"].what)
    Uniform(a=-0.5773502691896258, b=0.5773502691896258)
    >>> model.weight.equal(build(lambda: nn.Linear(3, 2), seed=7).weight)
    True
    """
    if isinstance(factory, nn.Module) or not callable(factory):
        raise InitTypeError(
            f"factory must be a function that makes the model, as lambda: Net(), but got "
            f"{type(factory).__name__}; for a model that is there, use initialize or recording"
        )
    with unseen():
        check_place(device, dtype)
    to_meta = device is not None and torch.device(device).type == "meta"
    if exact and to_meta:
        raise InitError(
            "exact=True runs everything as the constructor does, which needs memory: say "
            "device='cpu', or leave exact out"
        )
    with _recorder(seed, exact, builds=True) as recorder:
        with _undone_on_error(recorder), recorded_by(recorder):
            model = factory()
        with unseen():
            if not isinstance(model, nn.Module):
                raise InitTypeError(f"the factory must return a torch.nn.Module, but got {model!r}")
            planner = _planner(model, recorder)
            plan = _planned(planner, recorder, init_cfg, strict, cover)
            if exact:
                model.to(device=device, dtype=dtype)
            elif device is not None or dtype is not None:
                place(model, device, dtype)
                recorder.records.clear()  # nothing is in its place any more
            if to_meta:
                remember_plan(model, plan)
            else:
                checked = planner.tree if dtype is None else None  # another dtype may not do
                apply_where(plan, model, partial(_is_missing, recorder), checked)
            for done, paths in planner.done():
                remember(done, paths)
    return model


@contextmanager
def _recorder(seed: Seed | None, exact: bool, builds: bool = False) -> Iterator[Recorder]:
    if exact and seed is not None:
        raise InitError(
            f"exact=True draws from torch's default generators, where seed={seed!r} has no effect; "
            "call torch.manual_seed first, and leave seed out"
        )
    check_seed(0 if seed is None else seed)
    known: AbstractContextManager[Seed] = nullcontext(0 if seed is None else seed)
    if seed is None and not exact:
        known = fresh_seed_within()  # in an outer recording, from its own randomness
    with known as number:
        yield Recorder(number, exact=exact, builds=builds)


def _planner(model: nn.Module, recorder: Recorder, name: str = "") -> Planner:
    zero3.check_recorded(model)
    if recorder.program is not None:
        return Planner(model, None, "torch", recorder)
    return Planner(model, (recorder.seed, name) if name else recorder.seed, recorder=recorder)


@contextmanager
def _undone_on_error(recorder: Recorder) -> Iterator[None]:
    """Put memory back that was there before, where the code that is recorded fails."""
    try:
        yield
    except BaseException:
        recorder.restore()
        raise


def _planned(
    planner: Planner,
    recorder: Recorder,
    init_cfg: InitCfg | None,
    strict: bool,
    cover: str | None,
) -> Plan:
    """The plan of what the constructor wrote, what rules say, and what the model declares."""
    model = planner.tree.root
    with planner.user_code.closing():
        recorder.finish_program()
        late = planner.config(init_cfg, "", model) if init_cfg is not None else None
        if isinstance(model, Declaring):
            declare(planner, model)
        if late is not None:
            late()
        plan = planner.plan(strict, cover)
        announce(plan)  # where warnings are errors, nothing has happened yet
        planner.user_code.confirmed = True
    return plan


def _is_missing(recorder: Recorder, slot: Slot, writes: list[Write]) -> bool:
    """Whether the memory of a tensor has not got its values yet."""
    if slot.tensor.is_meta:
        return False  # the constructor's own wish
    if not is_plain(slot.tensor) or any(write.by == RULE for write in writes):
        return True
    record = recorder.known(slot.tensor)
    if recorder.program is not None:
        return False
    return record is None or not record.born or record.pending


class Recording:
    """What `recording` gives: names the models whose tensors were made or written within."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._named: list[tuple[nn.Module, str]] = []
        self._ended = False

    def name(self, model: Model, name: str = "") -> Model:
        """Have a plan for this model: its tensors are drawn by their names in it.

        Args:
            model: made, or written to, within the recording.
            name: sets it apart from other models of the recording: its seed is (seed, name).
        """
        if not isinstance(model, nn.Module):
            raise InitTypeError(f"model must be a torch.nn.Module, but got {model!r}")
        if self._ended:
            raise InitError("the recording has ended: name models within it")
        self._named.append((model, name))
        return model

    def _plans(self) -> list[tuple[nn.Module, Plan]]:
        self._ended = True
        planners = [_planner(model, self._recorder, name) for model, name in self._named]
        return [(planner.tree.root, planner.plan()) for planner in planners]


@contextmanager
def recording(*, seed: Seed | None = None, exact: bool = False) -> Iterator[Recording]:
    """Record what this thread does with tensors within; at the end, fill each once.

    For code that makes several models, or initialises one by hand. Where a model is named
    (`rec.name(model)`), its tensors have lines in a plan, `plan_of(model)`, and are drawn by their
    names; everything else is drawn in the order of the program. Inside, tensors that are read have
    their values. An exception leaves memory that was there before as it was.

    Args:
        seed: as in `build`.
        exact: as in `build`.

    >>> import initium
    >>> with recording(seed=1) as rec:
    ...     actor, critic = nn.Linear(2, 2), nn.Linear(2, 2)
    ...     _ = rec.name(actor, "actor"), rec.name(critic, "critic")
    ...     _ = nn.init.zeros_(critic.bias)
    >>> initium.plan_of(critic)["bias"].what, bool(actor.weight.eq(critic.weight).any())
    ('Constant(val=0)', False)
    """
    with _recorder(seed, exact) as recorder:
        made = Recording(recorder)
        with _undone_on_error(recorder), recorded_by(recorder):
            yield made
        with unseen(), _undone_on_error(recorder):
            recorder.finish_program()
            plans = made._plans()
            for _, plan in plans:
                announce(plan)
            recorder.commit(slot.tensor for model, _ in plans for slot in Tree(model).slots)
            for model, plan in plans:
                remember_plan(model, plan)
                apply_where(plan, model, partial(_is_missing, recorder))
