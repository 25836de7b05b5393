"""Declarations -> rules; the only place that reads dicts.

All mistakes that can be seen without a model are raised here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from initium.errors import InitError, InitTypeError, located
from initium.initializers import Declaration, PretrainedDeclaration
from initium.registry import WEIGHT_INITIALIZERS

# a user's own initializer is called with the module; it is opaque to the plan
Opaque = Callable[[nn.Module], Any]
InitCfg = Mapping[str, Any] | list[Any] | tuple[Any, ...] | Opaque


@dataclass(frozen=True)
class Rule:
    """An initializer, which tensors it means, and where it was declared.

    Attributes:
        declared: what was built from the config.
        source: where, for people: `init_cfg of Net.backbone, rule 2`.
        scope: the submodule or tensor that an override names; None for a rule itself.
        overrides: rules that beat this one within their scopes.
        advice: what is odd about the rule, whatever the model.
    """

    declared: Declaration | PretrainedDeclaration | Opaque
    source: str
    scope: str | None = None
    overrides: tuple[Rule, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def is_pretrained(self) -> bool:
        """Whether the rule loads a checkpoint, which comes last."""
        return isinstance(self.declared, PretrainedDeclaration)


def parse(init_cfg: InitCfg, where: str) -> list[Rule]:
    """The rules of an `init_cfg`, in their order.

    Args:
        init_cfg: a dict, an initializer object, or a list of these; it is not changed.
        where: its place, for messages: `init_cfg of Net.backbone`.

    Raises:
        InitTypeError: a TypeError; `init_cfg`, `override` or an argument of the wrong type.
        InitKeyError: a KeyError; an unknown `type`.
        InitError: an `override` without `name` or without `type`, or a bad value.
    """
    if not isinstance(init_cfg, (Mapping, list, tuple)) and not callable(init_cfg):
        raise InitTypeError(
            f"{where} must be a dict or a list of dicts, but got a "
            f"{type(init_cfg).__name__}: {init_cfg!r}"
        )
    configs = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    return [_rule(cfg, f"{where}, rule {i}") for i, cfg in enumerate(configs, 1)]


def _rule(cfg: Any, source: str) -> Rule:
    with located(source):
        if isinstance(cfg, Mapping):
            arguments = dict(cfg)
            override = arguments.pop("override", None)
            declared = WEIGHT_INITIALIZERS.build(arguments)
            overrides = _overrides(override, arguments, source)
        else:
            declared, overrides = cfg, ()
        if not callable(declared):
            raise InitTypeError(
                f"a rule must be a dict with a 'type', or an initializer, but got {cfg!r}"
            )
    advice: tuple[str, ...] = ()
    if _selects_nothing(declared) and not overrides:
        advice = ("it names no layer= and no name=, so it does nothing",)
    return Rule(declared, source, overrides=overrides, advice=advice)


def _selects_nothing(declared: object) -> bool:
    return (
        isinstance(declared, Declaration)
        and declared.declares()
        and not (declared.layer or declared.name or declared.wholemodule or declared.ownmodule)
    )


def _overrides(override: Any, rule: dict[str, Any], source: str) -> tuple[Rule, ...]:
    if override is None:
        return ()
    if not isinstance(override, (Mapping, list, tuple)):
        raise InitTypeError(f"override must be a dict or a list of dicts, but got {override!r}")
    many = [override] if isinstance(override, Mapping) else override
    return tuple(_override(o, rule, f"{source}, override {i}") for i, o in enumerate(many, 1))


def _override(override: Any, rule: dict[str, Any], source: str) -> Rule:
    if not isinstance(override, Mapping):
        raise InitTypeError(f"override must be a dict or a list of dicts, but got {override!r}")
    arguments = dict(override)
    scope = arguments.pop("name", None)
    if not isinstance(scope, str):
        raise InitError(
            f"override must contain the key 'name', a submodule or tensor, but got {arguments!r}"
        )
    if arguments and "type" not in arguments:
        raise InitError(
            f"override of {scope!r} must contain the key 'type' (with only a 'name' it takes the "
            f"rule's own arguments), but got {arguments!r}"
        )
    advice: tuple[str, ...] = ()
    if "layer" in arguments:
        advice = ("layer= in an override has no effect: its scope is the whole submodule",)
    arguments = arguments or {k: v for k, v in rule.items() if k != "name"}
    arguments.pop("layer", None)
    return Rule(WEIGHT_INITIALIZERS.build(arguments), source, scope=scope, advice=advice)
