"""What was done to a model before: its plan, and which tensors its own `init_weights` has set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from weakref import WeakKeyDictionary

from torch import nn

from initium.checkpoint import Files
from initium.errors import InitError
from initium.planning.model import Plan

# kept outside of the modules: nothing of ours hangs on them
_SET: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()
_PLANS: WeakKeyDictionary[nn.Module, Plan] = WeakKeyDictionary()


def remember(module: nn.Module, paths: Iterable[str]) -> None:
    """Note that `init_weights` of `module` has set the tensors at `paths`, seen from it."""
    _SET[module] = frozenset(paths)


def remembered(module: nn.Module) -> frozenset[str]:
    """The paths of the tensors that `init_weights` of `module` has set, seen from it."""
    return _SET.get(module, frozenset())


def remember_plan(model: nn.Module, plan: Plan) -> None:
    """Note by which plan a model was, or will be, initialised."""
    _PLANS[model] = replace(plan, files=Files())  # nothing of the old ones is kept in memory


def plan_of(model: nn.Module) -> Plan:
    """The plan that a model was built by, recorded, or last initialised by.

    Raises:
        InitError: there is none.

    >>> import initium
    >>> model = initium.build(lambda: nn.LayerNorm(3), seed=0)
    >>> print(plan_of(model)["weight"])
    weight Constant(val=1.0)
    """
    if model not in _PLANS:
        raise InitError(
            f"there is no plan of this {type(model).__name__}: initium.build(factory) makes one, and "
            "initium.plan(model, init_cfg) plans rules for a model that is there"
        )
    return replace(_PLANS[model], files=Files())


def planned_within(model: nn.Module) -> list[nn.Module]:
    """The modules of a model that have a plan; of nested ones the outermost."""
    if model in _PLANS:
        return [model]
    return [found for child in model.children() for found in planned_within(child)]
