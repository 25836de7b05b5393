"""What chooses between definitions, in words that editors follow, too.

Validators ask only whether a config is right. Editors also ask which keys may stand at the cursor,
and show every complaint that they find. So a choice is an `if` on the key that decides it, and asks
for an object first: what is no object has one complaint, not one for each initializer.
"""

from __future__ import annotations

from initium.schema.types import Schema


def has(key: str) -> Schema:
    """An object with this key."""
    return {"type": "object", "required": [key]}


def choice(condition: Schema, then: Schema, otherwise: Schema) -> Schema:
    """Where the condition holds, the one; else the other."""
    return {"if": condition, "then": then, "else": otherwise}


def ref(definition: str) -> Schema:
    """What `$defs` says of a name."""
    pointer = definition.replace("~", "~0").replace("/", "~1").replace(" ", "%20")
    return {"$ref": f"#/$defs/{pointer}"}


def one_or_many(definition: str, *others: str, one: Schema | None = None) -> Schema:
    """A list of a definition, or one (or what else an object may be), or another type."""
    reference = ref(definition)
    return {
        "type": ["array", "object", *others],
        "items": reference,
        "if": {"type": "object"},
        "then": one or reference,
    }


def cases(key: str, cases: dict[str, list[str]]) -> list[Schema]:
    """For each definition: where `key` is one of its names, the definition holds."""
    return [
        {"if": {**has(key), "properties": {key: {"const": name}}}, "then": ref(definition)}
        for definition, names in cases.items()
        for name in names
    ]
