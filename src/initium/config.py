"""Declarations -> rules; the only place that reads dicts.

All mistakes that can be seen without a model are raised here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from initium.errors import InitError, InitKeyError, InitTypeError, located
from initium.initializers import Declaration, PretrainedDeclaration
from initium.presets import PRESETS
from initium.reading.plain import DataclassConfig, as_config, opened, plain_values
from initium.reading.positions import Place, PlacedList, place_of, reading
from initium.registry import WEIGHT_INITIALIZERS

# a user's own initializer is called with the module; it is opaque to the plan
Opaque = Callable[[nn.Module], Any]
InitCfg = (
    Mapping[str, Any]
    | list[Any]
    | tuple[Any, ...]
    | Opaque
    | DataclassConfig
    | str
    | os.PathLike[str]
)

Named = Callable[[int], str]  # the number of a rule -> its source


@dataclass(frozen=True)
class Rule:
    """An initializer, which tensors it means, and where it was declared.

    Attributes:
        declared: what was built from the config.
        source: where, for people: `init_cfg of Net.backbone, rule 2`.
        scope: the submodule or tensor that an override names; None for a rule itself.
        overrides: rules that beat this one within their scopes.
        advice: what is odd about the rule, whatever the model.
        preset: whether it is one of a preset, which later rules are meant to override.
    """

    declared: Declaration | PretrainedDeclaration | Opaque
    source: str
    scope: str | None = None
    overrides: tuple[Rule, ...] = ()
    advice: tuple[str, ...] = ()
    preset: bool = False

    @property
    def is_pretrained(self) -> bool:
        """Whether the rule loads a checkpoint, which comes last."""
        return isinstance(self.declared, PretrainedDeclaration)


def parse(init_cfg: InitCfg, where: str) -> list[Rule]:
    """The rules of an `init_cfg`, in their order.

    Args:
        init_cfg: a dict, a dataclass, an OmegaConf node, an initializer object, a preset, a list
            of these, or a file of them; it is not changed.
        where: its place, for messages: `init_cfg of Net.backbone`.

    Raises:
        InitTypeError: a TypeError; `init_cfg`, `override` or an argument of the wrong type.
        InitKeyError: a KeyError; an unknown `type` or `preset`.
        InitError: an `override` without `name` or without `type`, a bad value, or a bad file.
    """
    found = opened(init_cfg, where)
    if not isinstance(found, (Mapping, list, tuple)) and not callable(found):
        raise InitTypeError(
            f"{where} must be a dict or a list of dicts, or a file that ends in .yaml, .json or "
            f".toml (initium.read_config(path) reads any), but got a {type(found).__name__}: "
            f"{found!r}"
        )
    # files and presets say their own place; whose they are is worth telling below the root
    below = f", {where}" if "." in where else ""
    return list(_rules(found, lambda number: f"{where}, rule {number}", below, ()))


def _rules(found: Any, named: Named, below: str, within: tuple[str, ...]) -> Iterator[Rule]:
    configs = found if isinstance(found, (list, tuple)) else [found]
    for number, each in enumerate(configs, 1):
        cfg = as_config(each)
        place = _place(cfg, found, number)
        source = named(number) if place is None else f"{place}{below}"
        if isinstance(cfg, Mapping) and "preset" in cfg:
            yield from _preset(cfg, source, below, within)
        else:
            yield _rule(cfg, source)


def _place(cfg: Any, found: Any, number: int) -> Place | None:
    place = place_of(cfg)
    if place is None and isinstance(found, PlacedList):
        return replace(found.place.at(number - 1), rule=f"rule {number}")
    return place


def _preset(cfg: Any, source: str, below: str, within: tuple[str, ...]) -> Iterator[Rule]:
    with reading(cfg, source):
        arguments = dict(plain_values(cfg))
        arguments.pop("$schema", None)
        name = arguments.pop("preset")
        if "type" in arguments:
            raise InitError(
                f"an entry has a 'type' or a 'preset', but got type={arguments['type']!r} and "
                f"preset={name!r}; write two entries, the later one wins"
            )
        preset = PRESETS.find(name)
        if preset.label in within:
            raise InitError(f"{preset} contains itself: {' > '.join((*within, preset.label))}")
        rules = preset.rules(arguments)
    for rule in _rules(
        rules, lambda n: f"{preset}, rule {n}{below}", below, (*within, preset.label)
    ):
        yield replace(rule, preset=True)


def _rule(cfg: Any, source: str) -> Rule:
    override = None
    with reading(cfg, source):
        if isinstance(cfg, Mapping):
            arguments = dict(plain_values(cfg))
            arguments.pop("$schema", None)
            override = arguments.pop("override", None)
            declared = _built(arguments)
        else:
            declared, arguments = cfg, {}
        if not callable(declared):
            raise InitTypeError(
                "a rule must be a dict with a 'type' or a 'preset', or an initializer, but got "
                f"{cfg!r}"
            )
    overrides = _overrides(override, arguments, source)
    advice: tuple[str, ...] = ()
    if _selects_nothing(declared) and not overrides:
        advice = ("it names no layer= and no name=, so it does nothing",)
    return Rule(declared, source, overrides=overrides, advice=advice)


def _built(arguments: dict[str, Any]) -> Any:
    if "type" not in arguments:
        raise InitKeyError(
            f"a config must contain the key 'type' or 'preset', but got {arguments!r}"
        )
    return WEIGHT_INITIALIZERS.build(arguments)


def _selects_nothing(declared: object) -> bool:
    return (
        isinstance(declared, Declaration)
        and declared.declares()
        and not (declared.layer or declared.name or declared.wholemodule or declared.ownmodule)
    )


_NO_OVERRIDE = "override must be a dict or a list of dicts, but got "


def _overrides(override: Any, rule: dict[str, Any], source: str) -> tuple[Rule, ...]:
    if override is None:
        return ()
    with located(source):
        if not isinstance(override, (Mapping, list, tuple)):
            raise InitTypeError(f"{_NO_OVERRIDE}{override!r}")
    many = [override] if isinstance(override, Mapping) else override
    return tuple(_override(o, rule, f"{source}, override {i}") for i, o in enumerate(many, 1))


def _override(override: Any, rule: dict[str, Any], otherwise: str) -> Rule:
    place = place_of(override)
    source = otherwise if place is None else str(place)
    with reading(override, source):
        if not isinstance(override, Mapping):
            raise InitTypeError(f"{_NO_OVERRIDE}{override!r}")
        return _scoped(dict(override), rule, source)


def _scoped(arguments: dict[str, Any], rule: dict[str, Any], source: str) -> Rule:
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
