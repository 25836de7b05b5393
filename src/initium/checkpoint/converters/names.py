"""Converters that keep each tensor: other names, other orders of dimensions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from initium.checkpoint.computed import viewed
from initium.checkpoint.converters.base import (
    CHECKPOINT_CONVERTERS,
    Converter,
    Entries,
    Names,
    as_tuple,
    check_pattern,
    check_template,
)
from initium.checkpoint.entry import Entry
from initium.errors import InitError


@CHECKPOINT_CONVERTERS.register_module()
@dataclass(frozen=True)
class Rename(Converter):
    r"""Replace what a regular expression finds in the names, as `re.sub` does.

    Args:
        pattern: is searched for in every name.
        replacement: `\1` stands for the first group.

    >>> sorted(Rename(r"^layers\.", "blocks.").convert({"layers.0.w": None, "head": None}))
    ['blocks.0.w', 'head']
    """

    pattern: str
    replacement: str

    def __post_init__(self) -> None:
        check_pattern(self.pattern)
        check_template(self.pattern, self.replacement)

    def convert(self, entries: Entries) -> Entries:
        """All tensors, by their new names."""
        result = Names(self)
        for name, entry in entries.items():
            result.add(re.sub(self.pattern, self.replacement, name), entry)
        return result.entries


@CHECKPOINT_CONVERTERS.register_module()
@dataclass(frozen=True)
class Transpose(Converter):
    """Put the dimensions of each matching tensor in another order (GPT-2's Conv1D into Linear).

    Args:
        key: matches the whole name.
        dims: two dimensions that change places, or all of them in their new order.
    """

    key: str
    dims: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        check_pattern(self.key)
        as_tuple(self, "dims", int)
        if len(self.dims) < 2 or len(set(self.dims)) != len(self.dims):
            raise InitError(f"dims must be different dimensions, but got {self.dims}")

    def convert(self, entries: Entries) -> Entries:
        """All tensors, the matching ones transposed."""
        return {
            name: self._of(entry) if re.fullmatch(self.key, name) else entry
            for name, entry in entries.items()
        }

    def _of(self, entry: Entry) -> Entry:
        n = len(entry.shape)
        order = list(range(n))
        if max(self.dims) >= n or min(self.dims) < 0 or (len(self.dims) not in (2, n)):
            raise InitError(f"{entry.text} has the shape {list(entry.shape)}: {self}")
        if len(self.dims) == 2:
            a, b = self.dims
            order[a], order[b] = b, a
        else:
            order = list(self.dims)
        return viewed(entry, lambda t: t.permute(*order), f"{entry.text}.permute{tuple(order)}")
