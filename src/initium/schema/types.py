"""The schema of an argument: of its type, its default and what its docs say."""

from __future__ import annotations

import inspect
import json
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter

from initium.schema.editors import documented

Schema = dict[str, Any]
_PAIR = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
# what the declarations ask of their arguments, beyond the types
_NARROWER: dict[str, Schema] = {
    "bias_prob": {"exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "checkpoint": {"type": "string"},
    "rename": {"items": _PAIR},
    "min_coverage": {"minimum": 0, "maximum": 1},
    "sha256": {"pattern": "^[0-9a-fA-F]{8,64}$"},
}


def argument(hint: Any, default: Any, doc: str, defs: dict[str, Schema]) -> Schema:
    """The schema of one argument.

    Args:
        hint: its type.
        default: its default; `inspect.Parameter.empty` where it has none.
        doc: the sentence on it; may be empty.
        defs: what types with a name of their own are added to.

    >>> argument(float, 1, "a factor.", {})
    {'type': 'number', 'description': 'a factor.', 'default': 1}
    """
    made = {**_of_type(hint, defs), **documented(doc)}
    if default is None or default is inspect.Parameter.empty:
        return made  # editors would fill in a null, which says as much as leaving the key out
    try:
        made["default"] = json.loads(json.dumps(default, allow_nan=False))
    except (TypeError, ValueError):
        pass  # a class, or an infinity: JSON has none
    return made


def _of_type(hint: Any, defs: dict[str, Schema]) -> Schema:
    """The schema of a type; {}, which takes anything, where a file has no such thing."""
    config = ConfigDict(arbitrary_types_allowed=True)
    try:
        made = TypeAdapter(hint, config=config).json_schema(ref_template="#/$defs/{model}")
    except (PydanticUserError, TypeError, NameError):
        try:  # a type with a config of its own takes no other
            made = TypeAdapter(hint).json_schema(ref_template="#/$defs/{model}")
        except (PydanticUserError, TypeError, NameError):
            return {}
    defs.update(made.pop("$defs", {}))
    return made


def narrow(arguments: dict[str, Schema]) -> None:
    """Add to the schemas of a declaration's arguments what their types do not say."""
    for name, keywords in _NARROWER.items():
        if name in arguments:
            arguments[name] |= keywords
