"""What converters have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any

from initium.checkpoint.entry import Entry
from initium.errors import InitError, InitTypeError
from initium.registry import Registry

CHECKPOINT_CONVERTERS = Registry("checkpoint converter")

Entries = dict[str, Entry]


class Converter(ABC):
    """What makes other names or tensors of those of a checkpoint; patterns are regular expressions."""

    @abstractmethod
    def convert(self, entries: Entries) -> Entries:
        """All tensors by their new names.

        Raises:
            InitError: a tensor cannot be converted.
        """

    def to_dict(self) -> dict[str, Any]:
        """`{"type": …, arguments}`: JSON data that `CHECKPOINT_CONVERTERS.build` takes."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        data = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {"type": type(self).__name__, **data}


class Names:
    """Tensors by name; two must not get the same one.

    Args:
        converter: for messages.
    """

    def __init__(self, converter: Converter) -> None:
        self.entries: Entries = {}
        self._converter = converter

    def add(self, name: str, entry: Entry) -> None:
        """Add a tensor; raise an InitError where the name is taken."""
        if name in self.entries:
            before = self.entries[name]
            raise InitError(
                f"{self._converter} gives the name {name} to both {before.text} and {entry.text}"
            )
        self.entries[name] = entry


def as_tuple(converter: Any, name: str, kind: type) -> None:
    """Turn a list, as JSON and YAML have it, into a tuple of `kind`."""
    value = getattr(converter, name)
    if value is None or (isinstance(value, str) and kind is str):
        return
    if not isinstance(value, (list, tuple)) or not all(type(v) is kind for v in value) or not value:
        raise InitTypeError(f"{name} must be a list of {kind.__name__}, but got {value!r}")
    object.__setattr__(converter, name, tuple(value))


def check_pattern(pattern: Any) -> None:
    """Raise unless it is a regular expression."""
    if not isinstance(pattern, str):
        raise InitTypeError(f"a pattern must be a str, but got {pattern!r}")
    try:
        re.compile(pattern)
    except re.error as error:
        raise InitError(f"{pattern!r} is no regular expression: {error}") from error


def check_template(pattern: str, template: Any) -> None:
    """Raise unless the groups that a replacement speaks of are in the pattern."""
    if not isinstance(template, str):
        raise InitTypeError(f"a name must be a str, but got {template!r}")
    try:
        re.sub(f"(?:{pattern})|\\Z", template, "")
    except (re.error, IndexError) as error:
        raise InitError(f"{template!r} does not fit the pattern {pattern!r}: {error}") from error
