"""`build`: a constructor of others is run while a recorder is on; then its model is filled once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from initium.apply import announce, apply_where
from initium.config import InitCfg
from initium.errors import InitError, InitTypeError
from initium.here import unseen
from initium.placing import check_place, place, warn_of_new
from initium.planning import Declaring, Plan, Planner, declare, remember, remember_plan
from initium.record import recorded_by
from initium.recordings import Recording as Recording
from initium.recordings import recording as recording
from initium.streams import Seed
from initium.under_record import is_missing, new_recorder, planner_of, undone_on_error

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
    with new_recorder(seed, exact, builds=True) as recorder:
        with undone_on_error(recorder), recorded_by(recorder):
            model = factory()
        with unseen():
            if not isinstance(model, nn.Module):
                raise InitTypeError(f"the factory must return a torch.nn.Module, but got {model!r}")
            planner = planner_of(model, recorder)
            plan = _planned(planner, init_cfg, strict, cover)
            new: list[str] = []
            if exact:
                model.to(device=device, dtype=dtype)
            elif device is not None or dtype is not None:
                new = place(model, device, dtype)
                recorder.settle_left()
                recorder.records.clear()  # nothing is in its place any more
            if to_meta:
                remember_plan(model, plan)
            else:
                checked = planner.tree if dtype is None else None  # another dtype may not do
                apply_where(plan, model, partial(is_missing, recorder), checked)
            for done, paths in planner.done():
                remember(done, paths)
            warn_of_new(new)
    return model


def _planned(
    planner: Planner,
    init_cfg: InitCfg | None,
    strict: bool,
    cover: str | None,
) -> Plan:
    """The plan of what the constructor wrote, what rules say, and what the model declares."""
    model = planner.tree.root
    with planner.user_code.closing():
        late = planner.config(init_cfg, "", model) if init_cfg is not None else None
        if isinstance(model, Declaring):
            declare(planner, model)
        if late is not None:
            late()
        plan = planner.plan(strict, cover)
        announce(plan)  # where warnings are errors, nothing has happened yet
        planner.user_code.confirmed = True
    return plan
