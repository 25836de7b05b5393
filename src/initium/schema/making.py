"""A JSON Schema of what an `init_cfg` may say, made of signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from initium.checkpoint import CHECKPOINT_ADAPTERS, CHECKPOINT_CONVERTERS
from initium.initializers import Declaration, PretrainedDeclaration
from initium.presets import PRESETS, Preset
from initium.registry import WEIGHT_INITIALIZERS, Registry, known_arguments
from initium.schema.choices import cases, choice, has, one_or_many, ref
from initium.schema.editors import LINE, documented, layers, words
from initium.schema.signatures import argument_docs, parameters, summary
from initium.schema.types import Schema, argument, narrow

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_RULES = "A list of rules in rising precedence, where a later one wins; or one rule."


def config_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a config, with all that is registered now.

    It is made of the signatures and docstrings of the initializers and presets: a user's own,
    once registered, are in it, too.

    >>> schema = config_schema()
    >>> schema["$defs"]["Normal"]["properties"]["std"]["description"]
    'of the normal distribution.'
    """
    made = _Schemas()
    rule, override = made.rule(), made.override()
    return {
        "$schema": DIALECT,
        "title": "An init_cfg of Initium",
        "description": "A list of rules, one rule, or a table with init_cfg.",
        **one_or_many("rule", one=choice(has("init_cfg"), ref("table"), _rule_or_table())),
        "$defs": {"table": _table(), "rule": rule, "override": override, **made.defs},
    }


def _rule_or_table() -> Schema:
    """A rule; while it has no kind, `init_cfg` is offered, too."""
    kind = {"anyOf": [has("type"), has("preset")]}
    offered = {"init_cfg": {**documented(_RULES), "type": ["array", "object"]}}
    return {"allOf": [ref("rule"), choice(kind, {}, {"properties": offered})]}


def _table() -> Schema:
    return {
        "type": "object",
        "properties": {
            "$schema": {"description": LINE},
            "init_cfg": {**documented(_RULES), **one_or_many("rule")},
        },
        "patternProperties": {"^x-": {"description": "Your own anchors and notes."}},
        "additionalProperties": False,
    }


class _Schemas:
    """The definitions of every initializer and preset, and what chooses between them."""

    def __init__(self) -> None:
        self.defs: dict[str, Schema] = {}

    def rule(self) -> Schema:
        """A rule: by its `type` or its `preset` it must be one of the definitions."""
        types = {name: [name] for name in WEIGHT_INITIALIZERS}
        for name, target in WEIGHT_INITIALIZERS.module_dict.items():
            self.defs[name] = self._initializer(name, target)
        presets: dict[str, list[str]] = {}
        for label in PRESETS.labels():
            preset = PRESETS.find(label)
            newest = PRESETS.find(preset.name) is preset
            presets[f"preset-{label}"] = [preset.name, label] if newest else [label]
            self.defs[f"preset-{label}"] = self._preset(preset, presets[f"preset-{label}"])
        meanings = {n: _meaning(PRESETS.find(n), n) for names in presets.values() for n in names}
        kind = {"type": words(_meanings(WEIGHT_INITIALIZERS), "The initializer.")}
        named = {"preset": words(meanings, "The name of a list of rules.")}
        either = {"properties": {**kind, **named}, "required": ["type"]}
        return {
            "type": "object",
            "title": "rule",
            **choice(
                has("preset"),
                {"properties": named, "allOf": cases("preset", presets)},
                choice(has("type"), {"properties": kind, "allOf": cases("type", types)}, either),
            ),
        }

    def override(self) -> Schema:
        """An override: with its `name` alone, or like a rule, within its scope."""
        scope = {"name": {"type": "string", "description": "A submodule or tensor."}}
        types: dict[str, list[str]] = {}
        for name, target in WEIGHT_INITIALIZERS.module_dict.items():
            own = self._initializer(name, target)
            if "name" not in own["required"]:  # else it needs patterns, and an override has a scope
                self.defs[f"override-{name}"] = _scoped(own, scope)
                types[f"override-{name}"] = [name]
        meanings = _meanings(WEIGHT_INITIALIZERS, [name for [name] in types.values()])
        kind = {"type": words(meanings, "The initializer; none: the rule's own.")}
        return {
            "type": "object",
            "title": "override",
            "properties": {**scope, **kind},
            "required": ["name"],
            **choice(
                has("type"),
                {"allOf": cases("type", types)},
                {"properties": {"name": {}}, "additionalProperties": False},
            ),
        }

    def _initializer(self, name: str, target: Callable[..., Any]) -> Schema:
        made = self._object(_kind(name, target), target)
        own = made["properties"]
        kind = target if inspect.isclass(target) else object
        if issubclass(kind, PretrainedDeclaration):
            narrow(own)
            own["convert"]["items"] = self._one_of("converter", CHECKPOINT_CONVERTERS)
            own["adapt"]["items"] = self._one_of("adapter", CHECKPOINT_ADAPTERS)
        if issubclass(kind, Declaration):
            narrow(own)
            own |= {"layer": layers(own["layer"])} if "layer" in own else {}
        own["override"] = {
            "description": "What beats this rule within a submodule: one, or a list.",
            **one_or_many("override", "null"),
        }
        return made

    def _one_of(self, what: str, registry: Registry) -> Schema:
        """What is built from another registry, by its `type`."""
        for name, target in registry.module_dict.items():
            self.defs.setdefault(f"{what}-{name}", self._object(_kind(name, target), target))
        types = {f"{what}-{name}": [name] for name in registry}
        return {
            "type": "object",
            "properties": {"type": words(_meanings(registry), f"The {what}.")},
            "required": ["type"],
            "allOf": cases("type", types),
        }

    def _preset(self, preset: Preset, names: list[str]) -> Schema:
        return self._object({"preset": documented(_meaning(preset))}, preset.make, title=names[0])

    def _object(self, kind: Schema, target: Callable[..., Any], title: str = "") -> Schema:
        names, required, open_ended = known_arguments(target)
        if inspect.isclass(target) and issubclass(target, Declaration):
            open_ended = False  # it takes others to refuse them with a list of what there is
        known, docs = parameters(target), argument_docs(target)
        own = {n: argument(*known[n], docs.get(n, ""), self.defs) for n in names}
        return {
            "type": "object",
            "title": title or kind["type"]["const"],
            **documented(summary(target)),
            "properties": {**kind, **own},
            # a pattern, so that editors do not offer it as an argument
            "patternProperties": {"^\\$schema$": {"description": LINE}},
            "required": [*kind, *required],
            "additionalProperties": open_ended,
        }


def _scoped(initializer: Schema, scope: Schema) -> Schema:
    """An initializer as an override: with a scope, and without a description that hides its own."""
    given = {k: v for k, v in initializer["properties"].items() if k not in ("override", "layer")}
    without_effect = {"^layer$": {"description": "Without effect here."}}  # and not to be offered
    return {
        **{k: v for k, v in initializer.items() if k not in ("description", "markdownDescription")},
        "properties": {**given, **scope},
        "patternProperties": without_effect if "layer" in initializer["properties"] else {},
    }


def _kind(name: str, target: Callable[..., Any]) -> Schema:
    return {"type": {"const": name, **documented(summary(target))}}


def _meanings(registry: Registry, names: Iterable[str] | None = None) -> dict[str, str]:
    return {name: summary(registry.lookup(name)) for name in names or registry}


def _meaning(preset: Preset, name: str = "") -> str:
    """What a preset gives; where a version is named, in fewer words."""
    if name == preset.label:
        return f"Stays what version {preset.version} is: {preset.formula or summary(preset.make)}."
    texts = (preset.formula, preset.reference, preset.equals and f"Equals {preset.equals}")
    text = " ".join(f"{each.rstrip('.')}." for each in texts if each)
    return text or summary(preset.make)
