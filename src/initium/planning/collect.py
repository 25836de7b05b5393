"""A tree of declaring modules -> Plan: every `init_cfg`, `init_weights` and checkpoint in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from initium.config import InitCfg
from initium.errors import located
from initium.planning.build import Planner, plan_config
from initium.planning.model import Plan
from initium.planning.select import unwrapped
from initium.planning.writes import Finding
from initium.streams import Seed
from initium.tree import join


class Declaring:
    """What a module has whose `init_cfg` takes part in a plan; `BaseModule` is the one to use."""

    init_cfg: Any
    _is_init: bool


def user_defined(module: nn.Module) -> Callable[[], Any] | None:
    """The `init_weights` that a user wrote for a module; None where there is none but ours."""
    method = getattr(module, "init_weights", None)
    ours = getattr(method, "plans_declarations", False)
    return method if callable(method) and not ours else None


def plan_tree(
    model: nn.Module, *, seed: Seed | None = None, rng: str = "philox", strict: bool = False
) -> Plan:
    """The plan of all that the modules of a model declare.

    Order, later wins: each module's `init_cfg`, parents first; user-defined `init_weights`, each
    of which answers for all that lies below it; a module's `Pretrained` after its children.
    """
    walk = _Walk(Planner(model, seed, rng))
    walk.visit("", model)
    for late in walk.late:
        late()
    return walk.planner.plan(strict)


def plan(
    model: nn.Module,
    init_cfg: InitCfg | None = None,
    *,
    seed: Seed | None = None,
    rng: str = "philox",
    strict: bool = False,
) -> Plan:
    """What `initialize(model, init_cfg)`, or `model.init_weights()`, would do; nothing is written.

    Args:
        model: any `nn.Module`; its tensors may be on `meta`.
        init_cfg: a rule or a list of rules; None takes what the modules declare themselves.
        seed: recorded in the plan; None: one is drawn when the plan is applied.
        rng: recorded in the plan: `'philox'`, or `'torch'` (see `initialize`).
        strict: rules without effect and tensors that nothing sets are errors.

    Raises:
        InitError: something cannot be carried out, or, in strict mode, has no effect.

    >>> import initium
    >>> model = nn.Linear(2, 3, device="meta")
    >>> print(initium.plan(model, dict(type="Kaiming", layer="Linear"), seed=1).explain("bias"))
    bias - [3] float32
      1. Constant(val=0) — init_cfg of Linear, rule 1: wins: the last declared write, later \
beats earlier; w = val
    """
    if init_cfg is not None:
        return plan_config(model, init_cfg, seed=seed, rng=rng, strict=strict)
    planned = plan_tree(model, seed=seed, rng=rng, strict=strict)
    if not user_defined(model):
        return planned
    text = (
        f"{type(model).__name__}.init_weights is user code: this is the plan of what "
        "super().init_weights() does in it"
    )
    return replace(planned, findings=(Finding("advice", text), *planned.findings))


def declaring_modules(module: nn.Module) -> Iterator[Declaring]:
    """The modules whose declarations `plan_tree(module)` takes together; user code bounds it."""
    if isinstance(module, Declaring):
        yield module
    for child in module.children():
        inner = unwrapped(child)
        if not getattr(inner, "is_init", False) and not user_defined(inner):
            yield from declaring_modules(inner)


class _Walk:
    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.late: list[Callable[[], None]] = []
        self.seen: set[int] = set()

    def visit(self, name: str, module: nn.Module) -> None:
        path = self.planner.tree.paths[name]
        pretrained = None
        if isinstance(module, Declaring) and module.init_cfg:
            pretrained = self.planner.config(module.init_cfg, path, module)
        for attribute, child in module.named_children():
            self._child(join(name, attribute), child)
        if pretrained:
            self.late.append(pretrained)

    def _child(self, name: str, child: nn.Module) -> None:
        if id(child) in self.seen:
            return
        self.seen.add(id(child))
        inner = unwrapped(child)
        if inner is not child:
            name = next(n for n, m in self.planner.tree.modules.items() if m is inner)
            self._child(name, inner)
        elif getattr(child, "is_init", False):
            self.planner.keep(self.planner.tree.paths[name], child)
        elif user_defined(child):
            _check_declarations(child, join(type(self.planner.tree.root).__name__, name))
            self.late.append(lambda: self.planner.call(name, child, None))
        else:
            self.visit(name, child)


def _check_declarations(module: nn.Module, where: str) -> None:
    """Plan what lies below user code: its mistakes must show before the first write, too.

    Only checkpoints are left out: such code often reads them in its own way.
    """
    planner = Planner(module)
    with located(f"below {where}.init_weights"):
        for name, below in planner.tree.modules.items():
            if isinstance(below, Declaring) and below.init_cfg:
                planner.config(below.init_cfg, planner.tree.paths[name], below)
