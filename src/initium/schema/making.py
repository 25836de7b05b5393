"""A JSON Schema of what an `init_cfg` may say, made of signatures and docstrings."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter

from initium.checkpoint import CHECKPOINT_ADAPTERS, CHECKPOINT_CONVERTERS
from initium.initializers import Declaration, PretrainedDeclaration
from initium.presets import PRESETS, Preset
from initium.registry import WEIGHT_INITIALIZERS, Registry, known_arguments
from initium.schema.signatures import argument_docs, parameters, summary

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
LINE = "A JSON Schema for editors; Initium leaves it out."


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
    rules = {
        "type": "array",
        "items": {"$ref": "#/$defs/rule"},
        "description": "Rules in rising precedence: a later one wins.",
    }
    return {
        "$schema": DIALECT,
        "title": "An init_cfg of Initium",
        "description": "A list of rules, one rule, or a table with init_cfg.",
        "if": {"type": "object", "required": ["init_cfg"]},
        "then": {"$ref": "#/$defs/table"},
        "else": {"if": {"type": "array"}, "then": rules, "else": {"$ref": "#/$defs/rule"}},
        "$defs": {"table": _table(rules), "rule": rule, "override": override, **made.defs},
    }


def _table(rules: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {
            "$schema": {"type": "string", "description": LINE},
            "init_cfg": {
                "description": "A list of rules, or one rule.",
                "if": {"type": "array"},
                "then": rules,
                "else": {"$ref": "#/$defs/rule"},
            },
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
        cases = []
        for name, target in WEIGHT_INITIALIZERS.module_dict.items():
            self.defs[name] = self._initializer(name, target)
            cases.append(_case("type", [name], name))
        labels: list[str] = []
        for label in PRESETS.labels():
            preset = PRESETS.find(label)
            names = [label, preset.name] if PRESETS.find(preset.name) is preset else [label]
            self.defs[f"preset-{label}"] = self._preset(preset, names)
            cases.append(_case("preset", names, f"preset-{label}"))
            labels += names
        kinds = list(WEIGHT_INITIALIZERS)
        return {
            "type": "object",
            "properties": {
                "type": {"enum": kinds, "description": "The initializer."},
                "preset": {"enum": labels, "description": "The name of a list of rules."},
            },
            "oneOf": [{"required": ["type"]}, {"required": ["preset"]}],
            "allOf": cases,
        }

    def override(self) -> Schema:
        """An override: with its `name` alone, or like a rule, within its scope."""
        cases, kinds = [], []
        for name, target in WEIGHT_INITIALIZERS.module_dict.items():
            own = self._initializer(name, target)
            if "name" in own["required"]:
                continue  # it needs patterns, and an override has a scope
            own["properties"].pop("override")
            own["properties"]["name"] = {"$ref": "#/$defs/override/properties/name"}
            own["required"] += ["name"]
            self.defs[f"override-{name}"] = own
            cases.append(_case("type", [name], f"override-{name}"))
            kinds.append(name)
        alone = {"properties": {"name": {}}, "additionalProperties": False}
        return {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "A submodule or tensor."},
                "type": {"enum": kinds, "description": "The initializer; none: the rule's own."},
            },
            "required": ["name"],
            "if": {"required": ["type"]},
            "then": {"allOf": cases},
            "else": alone,
        }

    def _initializer(self, name: str, target: Callable[..., Any]) -> Schema:
        made = self._object(_kind(name, target), target)
        if inspect.isclass(target) and issubclass(target, PretrainedDeclaration):
            own = made["properties"]
            own["checkpoint"]["type"] = "string"
            own["convert"]["items"] = self._one_of("converter", CHECKPOINT_CONVERTERS)
            own["adapt"]["items"] = self._one_of("adapter", CHECKPOINT_ADAPTERS)
        made["properties"]["override"] = {
            "description": "What beats this rule within a submodule: one, or a list.",
            "if": {"type": "array"},
            "then": {"items": {"$ref": "#/$defs/override"}},
            "else": {"$ref": "#/$defs/override"},
        }
        return made

    def _one_of(self, what: str, registry: Registry) -> Schema:
        """What is built from another registry, by its `type`."""
        for name, target in registry.module_dict.items():
            self.defs.setdefault(f"{what}-{name}", self._object(_kind(name, target), target))
        return {
            "type": "object",
            "properties": {"type": {"enum": list(registry), "description": f"The {what}."}},
            "required": ["type"],
            "allOf": [_case("type", [name], f"{what}-{name}") for name in registry],
        }

    def _preset(self, preset: Preset, names: list[str]) -> Schema:
        texts = (preset.formula, preset.reference, preset.equals and f"Equals {preset.equals}")
        text = " ".join(f"{each.rstrip('.')}." for each in texts if each)
        kind = {"enum": names, "description": text or summary(preset.make)}
        return self._object({"preset": kind}, preset.make)

    def _object(self, kind: Schema, target: Callable[..., Any]) -> Schema:
        names, required, open_ended = known_arguments(target)
        if inspect.isclass(target) and issubclass(target, Declaration):
            open_ended = False  # it takes others to refuse them with a list of what there is
        known, docs = parameters(target), argument_docs(target)
        own = {n: self._argument(*known[n], docs.get(n, "")) for n in names}
        return {
            "type": "object",
            "title": next(iter(kind.values())).get("const") or next(iter(kind.values()))["enum"][0],
            "description": summary(target),
            "properties": {**kind, **own, "$schema": {"type": "string", "description": LINE}},
            "required": [*kind, *required],
            "additionalProperties": open_ended,
        }

    def _argument(self, hint: Any, default: Any, doc: str) -> Schema:
        made = self._type(hint)
        if doc:
            made["description"] = doc
        if default is not inspect.Parameter.empty:
            try:
                made["default"] = json.loads(json.dumps(default, allow_nan=False))
            except (TypeError, ValueError):
                pass  # a class, or an infinity: JSON has none
        return made

    def _type(self, hint: Any) -> Schema:
        """The schema of a type; {}, which takes anything, where a file has no such thing."""
        config = ConfigDict(arbitrary_types_allowed=True)
        try:
            made = TypeAdapter(hint, config=config).json_schema(ref_template="#/$defs/{model}")
        except (PydanticUserError, TypeError, NameError):
            try:  # a type with a config of its own takes no other
                made = TypeAdapter(hint).json_schema(ref_template="#/$defs/{model}")
            except (PydanticUserError, TypeError, NameError):
                return {}
        self.defs.update(made.pop("$defs", {}))
        return made


def _kind(name: str, target: Callable[..., Any]) -> Schema:
    return {"type": {"const": name, "description": summary(target)}}


def _case(key: str, names: list[str], definition: str) -> Schema:
    chosen = {"properties": {key: {"enum": names}}, "required": [key]}
    pointer = definition.replace("~", "~0").replace("/", "~1").replace(" ", "%20")
    return {"if": chosen, "then": {"$ref": f"#/$defs/{pointer}"}}
