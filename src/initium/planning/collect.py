"""A tree of declaring modules -> Plan: every `init_cfg`, `init_weights` and checkpoint in it."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable
from typing import Any

from torch import nn

from initium.config import InitCfg, parse
from initium.errors import located
from initium.here import unseen
from initium.planning.build import Planner, plan_config
from initium.planning.model import Plan
from initium.planning.select import unwrapped
from initium.streams import Seed
from initium.tree import Tree, join


class Declaring(metaclass=ABCMeta):
    """What a module has whose `init_cfg` takes part in a plan; `BaseModule` is the one to use."""

    init_cfg: Any
    _is_init: bool


def user_defined(module: nn.Module) -> Callable[[], Any] | None:
    """The `init_weights` that a user wrote for a module; None where there is none but ours."""
    method = _own(module, "init_weights")
    ours = getattr(method, "plans_declarations", False) is True  # a mock has any attribute
    return method if callable(method) and not ours else None


def _own(module: nn.Module, name: str) -> Any:
    """An attribute of a module, or None: torch looks for it among parameters first, at length."""
    if name in module.__dict__ or hasattr(type(module), name):
        return getattr(module, name, None)
    return None


def plan(
    model: nn.Module,
    init_cfg: InitCfg | None = None,
    *,
    seed: Seed | None = None,
    rng: str = "philox",
    strict: bool = False,
    cover: str | None = None,
) -> Plan:
    """What `initialize(model, init_cfg)`, or `model.init_weights()`, would do; nothing is written.

    User-defined `init_weights` run, while a recorder keeps what they write from the model; what
    they do besides (printing, setting attributes) they do.

    Args:
        model: any `nn.Module`; its tensors may be on `meta`.
        init_cfg: a rule or a list of rules; None takes what the modules declare themselves.
        seed: recorded in the plan; None: one is drawn when the plan is applied, or now where user
            code runs, which may ask for values.
        rng: recorded in the plan: `'philox'`, or `'torch'` (see `initialize`).
        strict: rules without effect and tensors that nothing sets are errors.
        cover: `'all'`: a parameter that no rule sets is a finding, too.

    Raises:
        InitError: something cannot be carried out, or, in strict mode, has no effect.

    >>> import initium
    >>> model = nn.Linear(2, 3, device="meta")
    >>> print(initium.plan(model, dict(type="Kaiming", layer="Linear"), seed=1).explain("bias"))
    bias - [3] float32
      1. Constant(val=0) — init_cfg of Linear, rule 1: wins: the last declared write, later \
beats earlier; w = val
    """
    with unseen():
        if init_cfg is not None:
            return plan_config(model, init_cfg, seed=seed, rng=rng, strict=strict, cover=cover)[0]
        planner = Planner(model, seed, rng)
        with planner.user_code.closing():
            declare(planner, model)
            return planner.plan(strict, cover)


def declare(planner: Planner, model: nn.Module) -> None:
    """Add all that a model declares: by its own `init_weights`, where a user wrote one."""
    if user_defined(model):
        planner.call(model)
    else:
        include(planner, model)


def include(planner: Planner, module: nn.Module) -> None:
    """Add all that a module and those below it declare.

    Order, later wins: each module's `init_cfg`, parents first; user-defined `init_weights`, each
    of which answers for all that lies below it; a module's `Pretrained` after its children.
    """
    walk = _Walk(planner)
    walk.visit(module)
    for late in walk.late:
        late()
    planner.user_code.mark(walk.declaring)
    planner.included(module)


class _Walk:
    """Attributes: the modules whose declarations are taken together; what comes after all others."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.declaring: list[Declaring] = []
        self.late: list[Callable[[], Any]] = []
        self.seen: set[int] = set()

    def visit(self, module: nn.Module) -> None:
        pretrained = None
        if isinstance(module, Declaring):
            self.declaring.append(module)
            if module.init_cfg:
                path = self.planner.tree.path_of(module)
                pretrained = self.planner.config(module.init_cfg, path, module)
        for child in module.children():
            self._child(child)
        if pretrained:
            self.late.append(pretrained)

    def _child(self, child: nn.Module) -> None:
        if id(child) in self.seen:
            return
        self.seen.add(id(child))
        path = self.planner.tree.path_of(child)
        inner = unwrapped(child)
        if inner is not child:
            self._child(inner)
        elif _own(child, "is_init"):
            self.planner.keep(path, child)
        elif user_defined(child):
            _check_declarations(child, join(type(self.planner.tree.root).__name__, path))
            self.late.append(lambda: self.planner.call(child))
        else:
            self.visit(child)


def _check_declarations(module: nn.Module, where: str) -> None:
    """Read what is declared below user code: bad arguments must show before the code runs.

    Which tensors are meant is not looked for: the code may never come to it.
    """
    tree = Tree(module)
    with located(f"below {where}.init_weights"):
        for name, below in tree.modules.items():
            if isinstance(below, Declaring) and below.init_cfg:
                place = join(type(module).__name__, tree.paths[name])
                parse(below.init_cfg, f"init_cfg of {place}")
