"""MMEngine: its models planned by Initium, and Initium's initializers in its registry.

A model of `initium.BaseModule` needs none of this: MMEngine's `Runner.train()` calls its
`init_weights`, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.model import BaseModule as Theirs
from mmengine.registry import WEIGHT_INITIALIZERS as THEIR_INITIALIZERS
from torch import nn

from initium.errors import InitTypeError
from initium.modules import BaseModule, init_declared
from initium.planning import Declaring, Plan
from initium.planning import plan as plan_declared
from initium.registry import WEIGHT_INITIALIZERS
from initium.report import Report
from initium.streams import Seed

Declaring.register(Theirs)


class Installed:
    """Initium's initializers in MMEngine's registry, until `uninstall`; also a context manager."""

    def __init__(self) -> None:
        registered: dict[str, Any] = THEIR_INITIALIZERS._module_dict
        self._before = dict(registered)
        for name, initializer in WEIGHT_INITIALIZERS.module_dict.items():
            THEIR_INITIALIZERS.register_module(name=name, module=initializer, force=True)

    def uninstall(self) -> None:
        """Have MMEngine's own again."""
        registered: dict[str, Any] = THEIR_INITIALIZERS._module_dict
        registered.clear()
        registered.update(self._before)

    def __enter__(self) -> Installed:
        return self

    def __exit__(self, *_: object) -> None:
        self.uninstall()


def install() -> Installed:
    """Have `init_cfg` in models of MMEngine mean Initium's initializers, of the same names and more.

    MMEngine goes on calling them one after the other, in its own order; `init_weights` below makes
    one plan of all.

    Returns:
        what undoes it: `install().uninstall()`, or `with install(): …`.
    """
    return Installed()


def init_weights(
    model: nn.Module,
    *,
    seed: Seed | None = None,
    rng: str = "philox",
    strict: bool = False,
    cover: str | None = None,
) -> Report | None:
    """What `model.init_weights()` of an MMEngine model would do, as one plan, each tensor once.

    Its own `init_cfg` and those below count, and `init_weights` that users wrote run. Afterwards
    the model knows that it is initialised, so that `Runner.train()` leaves it alone.

    Args:
        model: of `mmengine.model.BaseModule`.
        seed: as in `initium.BaseModule.init_weights`, and so are the others.

    Raises:
        InitTypeError: a TypeError; the model is no such module.
        InitError: something declared cannot be carried out; the model is as it was.
    """
    _check(model)
    with _planned_by_us():
        return init_declared(model, seed=seed, rng=rng, strict=strict, cover=cover)


def plan(model: nn.Module, **options: Any) -> Plan:
    """The plan of what an MMEngine model declares; nothing is written.

    Args:
        model: of `mmengine.model.BaseModule`.
        options: `seed`, `rng`, `strict`, `cover`, as in `initium.plan`.

    Raises:
        InitError: as in `init_weights`.
    """
    _check(model)
    with _planned_by_us():
        return plan_declared(model, **options)


def _check(model: nn.Module) -> None:
    if not isinstance(model, Declaring):
        raise InitTypeError(
            f"model must be a mmengine.model.BaseModule, but got {type(model).__name__}; for any "
            "other module say initium.initialize(model, init_cfg)"
        )


@contextmanager
def _planned_by_us() -> Iterator[None]:
    """Where user code asks for what a module declares (`super().init_weights()`), the plan has it."""
    before = Theirs.init_weights
    Theirs.init_weights = BaseModule.init_weights
    try:
        yield
    finally:
        Theirs.init_weights = before
