"""BaseModule: a module that carries its own `init_cfg`."""

from __future__ import annotations

import copy
import functools
import inspect
import warnings
from abc import ABCMeta
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from initium.apply import announce, apply_where
from initium.cluster import ranks_of
from initium.errors import InitWarning
from initium.here import HERE, recorder_here, unseen
from initium.planning import Declaring, Planner, declare, include, remember
from initium.recorded import at_once
from initium.report import Report, log
from initium.streams import Seed
from initium.tree import is_model_wrapper as is_model_wrapper


class BaseModule(Declaring, nn.Module, metaclass=ABCMeta):
    """A module whose weights are initialised by what it, and the modules below it, declare.

    Args:
        init_cfg: a rule `dict(type=…)`, a list of rules, or None. It is copied: a config shared
            by many modules is never changed.

    >>> class Net(BaseModule):
    ...     def __init__(self, init_cfg=None):
    ...         super().__init__(init_cfg)
    ...         self.linear = nn.Linear(2, 2)
    >>> net = Net(init_cfg=dict(type="Constant", layer="Linear", val=1, bias=3))
    >>> net.init_weights().counts, net.linear.bias.tolist()
    ({'filled': 2}, [3.0, 3.0])
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "init_weights" in cls.__dict__:
            cls.init_weights = _recorded(cls.__dict__["init_weights"])  # type: ignore[method-assign]

    def __init__(self, init_cfg: Mapping[str, Any] | list[Any] | None = None) -> None:
        super().__init__()
        self._is_init = False
        self.init_cfg = copy.deepcopy(init_cfg)

    @property
    def is_init(self) -> bool:
        """Whether `init_weights` has been called."""
        return self._is_init

    @is_init.setter
    def is_init(self, value: bool) -> None:
        self._is_init = value

    def init_weights(
        self,
        *,
        seed: Seed | None = None,
        rng: str = "philox",
        strict: bool = False,
        cover: str | None = None,
    ) -> Report | None:
        """Initialise this module and all below it, once; log what every tensor got.

        A user's own `init_weights`, on any module, is called in its place; it may call
        `super().init_weights()` for what its module declares.

        Args:
            seed: an int, a str or a tuple of them; None draws one from torch's default generator.
            rng: `'philox'`, or `'torch'` for torch's own functions (see `initium.initialize`).
            strict: rules without effect and tensors that nothing sets are errors, before the
                first write.
            cover: `'all'`: a parameter that no rule sets is a finding, too.

        Returns:
            what happened to every tensor. None on a second call, which changes nothing and warns;
            and where user code calls it in the course of an outer one, which does the writing.

        Raises:
            InitError: something declared cannot be carried out; the model is as it was.
        """
        if self._is_init:
            _again(self)
            return None
        _, report = _planned(self, lambda p: include(p, self), seed, rng, strict, cover)
        return report

    # lets a plan tell this method from one that a user wrote
    init_weights.plans_declarations = True  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        text = super().__repr__()
        return f"{text}\ninit_cfg={self.init_cfg}" if self.init_cfg else text


def init_declared(
    model: nn.Module,
    *,
    seed: Seed | None = None,
    rng: str = "philox",
    strict: bool = False,
    cover: str | None = None,
) -> Report | None:
    """Carry out what a model of any kind declares, as `BaseModule.init_weights` does for its own."""
    if getattr(model, "_is_init", False):
        _again(model)
        return None
    _, report = _planned(model, lambda p: declare(p, model), seed, rng, strict, cover)
    return report


def _again(model: nn.Module) -> None:
    message = f"init_weights of {type(model).__name__} has been called more than once."
    warnings.warn(message, InitWarning, stacklevel=3)


def _recorded(method: Callable[..., Any]) -> Callable[..., Any]:
    """A user's own `init_weights`, such that the plan is complete before anything is written.

    It takes `seed`, `rng`, `strict` and `cover`, too, where the user's has no such arguments.
    """
    taken = inspect.signature(method).parameters
    named = not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    options = [n for n in ("seed", "rng", "strict", "cover") if named and n not in taken]

    @functools.wraps(method)
    def init_weights(self: BaseModule, *args: Any, **kwargs: Any) -> Any:
        if HERE.planner is not None and HERE.planner.tree.has(self):
            return method(self, *args, **kwargs)  # user code of a plan that is being made
        ours = {name: kwargs.pop(name) for name in options if name in kwargs}
        code = functools.partial(method, self, *args, **kwargs)
        result, report = _planned(
            self, lambda planner: planner.call(self, lambda _: code()), **ours
        )
        return report if result is None else result

    return init_weights


def _planned(
    module: nn.Module,
    add: Callable[[Planner], Any],
    seed: Seed | None = None,
    rng: str = "philox",
    strict: bool = False,
    cover: str | None = None,
) -> tuple[Any, Report | None]:
    """Add a module's declarations to the plan that is being made; else make one and carry it out."""
    outer, recorder = HERE.planner, recorder_here()
    if outer is not None and outer.tree.has(module):
        with unseen():
            return add(outer), None
    if recorder is not None and recorder.exact:
        with at_once(recorder, module) as happened:
            result, report = _planned(module, add, seed, rng, strict, cover)
            return result, report and happened(report)
    with unseen():
        planner = Planner(module, seed, rng, recorder, joined=recorder is not None)
        with ranks_of(module).together(), planner.user_code.closing():
            result = add(planner)
            plan = planner.plan(strict, cover)
            announce(plan)  # where warnings are errors, nothing has happened yet
            planner.user_code.confirmed = True
        if recorder is not None:
            return result, None  # which carries it out
        report = apply_where(plan, module, lambda *_: True, planner.tree)
    for done, paths in planner.done():
        remember(done, paths)
    log.details(report)
    return result, report
