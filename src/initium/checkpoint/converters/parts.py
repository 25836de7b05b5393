"""Converters that cut tensors into several, or join several into one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from initium.checkpoint.computed import joined, viewed
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
from initium.given import check_is


@CHECKPOINT_CONVERTERS.register_module()
@dataclass(frozen=True)
class Split(Converter):
    """Cut each tensor whose name matches into several: a packed qkv into q, k and v.

    Args:
        key: matches the whole name of the tensors to be cut.
        into: the names of the parts, in order; or one name with `{}` for the number of the part: the
            dimension is taken apart into single slices, and goes (stacked experts).
        dim: the dimension that is cut.
        sizes: the lengths of the parts along it; None: all the same.
    """

    key: str
    into: tuple[str, ...] | str
    dim: int = 0
    sizes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_is("dim", self.dim, int, "an int")
        check_pattern(self.key)
        as_tuple(self, "into", str)
        as_tuple(self, "sizes", int)
        for template in [self.into] if isinstance(self.into, str) else self.into:
            check_template(self.key, template)
        if isinstance(self.into, str) and "{}" not in self.into:
            raise InitError(f"into must be a list of names, or contain {{}}, but got {self.into!r}")
        if self.sizes is not None and len(self.sizes) != len(self.into):
            raise InitError(f"{len(self.into)} names, but {len(self.sizes)} sizes: {self}")

    def convert(self, entries: Entries) -> Entries:
        """All tensors, the matching ones cut."""
        result = Names(self)
        for name, entry in entries.items():
            found = re.fullmatch(self.key, name)
            if found is None:
                result.add(name, entry)
                continue
            if len(entry.shape) <= self.dim:
                raise InitError(f"{entry.text} has the shape {list(entry.shape)}: {self}")
            parts = self._slices(entry) if isinstance(self.into, str) else self._parts(entry)
            for template, part in parts:
                result.add(found.expand(template), part)
        return result.entries

    def _slices(self, entry: Entry) -> list[tuple[str, Entry]]:
        assert isinstance(self.into, str)
        return [
            (
                self.into.replace("{}", str(i)),
                viewed(entry, _select(self.dim, i), f"{entry.text}{_brackets(self.dim, str(i))}"),
            )
            for i in range(entry.shape[self.dim])
        ]

    def _parts(self, entry: Entry) -> list[tuple[str, Entry]]:
        length, n = entry.shape[self.dim], len(self.into)
        sizes = self.sizes or (length // n,) * n
        if sum(sizes) != length:
            raise InitError(
                f"{entry.text} has the shape {list(entry.shape)}: its dimension {self.dim} cannot be "
                f"cut into {n} parts of {list(sizes)}"
            )
        parts, first = [], 0
        for template, size in zip(self.into, sizes, strict=True):
            text = f"{entry.text}{_brackets(self.dim, f'{first}:{first + size}')}"
            parts.append((template, viewed(entry, _narrow(self.dim, first, size), text)))
            first += size
        return parts


@CHECKPOINT_CONVERTERS.register_module()
@dataclass(frozen=True)
class Merge(Converter):
    """Join several tensors into one: q, k and v into a packed qkv; experts into a stack.

    Args:
        keys: patterns of the tensors, in the order in which they are laid side by side along `dim`;
            or one pattern: all tensors that match it are stacked along a new dimension `dim`, in
            the order of the numbers in their names.
        into: the name of the result; tensors whose patterns give the same name belong together.
        dim: the dimension.
    """

    keys: tuple[str, ...] | str
    into: str
    dim: int = 0

    def __post_init__(self) -> None:
        check_is("dim", self.dim, int, "an int")
        as_tuple(self, "keys", str)
        for pattern in [self.keys] if isinstance(self.keys, str) else self.keys:
            check_pattern(pattern)
            check_template(pattern, self.into)

    def convert(self, entries: Entries) -> Entries:
        """All tensors, the matching ones joined."""
        result, groups = Names(self), self._groups(entries)
        taken = {name for members in groups.values() for name, _ in members}
        for name, entry in entries.items():
            if name not in taken:
                result.add(name, entry)
        for into, members in groups.items():
            result.add(into, self._joined(into, members, entries))
        return result.entries

    def _groups(self, entries: Entries) -> dict[str, list[tuple[str, int]]]:
        """The name of each result -> (name, number of the pattern) of its parts."""
        groups: dict[str, list[tuple[str, int]]] = {}
        patterns = [self.keys] if isinstance(self.keys, str) else self.keys
        for name in entries:
            for i, pattern in enumerate(patterns):
                found = re.fullmatch(pattern, name)
                if found is not None:
                    groups.setdefault(found.expand(self.into), []).append((name, i))
                    break
        return groups

    def _joined(self, into: str, members: list[tuple[str, int]], entries: Entries) -> Entry:
        if isinstance(self.keys, str):
            names = sorted((name for name, _ in members), key=_natural)
            one_more = _unsqueeze(self.dim)
            parts = [viewed(entries[n], one_more, entries[n].text) for n in names]
            return joined(parts, self.dim)
        by_pattern = {i: name for name, i in members}
        if len(by_pattern) != len(self.keys) or len(members) != len(self.keys):
            names = [name for name, _ in members]
            raise InitError(f"{into} needs one tensor for each of {self.keys}, but got {names}")
        return joined([entries[by_pattern[i]] for i in range(len(self.keys))], self.dim)


def _natural(name: str) -> list[Any]:
    """The order of numbers in names: 2 before 10."""
    parts = enumerate(re.split(r"(\d+)", name))
    return [int(part) if i % 2 else part for i, part in parts]


def _brackets(dim: int, where: str) -> str:
    return f"[{', '.join([':'] * dim + [where])}]"


def _select(dim: int, index: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.select(dim, index)


def _narrow(dim: int, first: int, length: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.narrow(dim, first, length)


def _unsqueeze(dim: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.unsqueeze(dim)
