"""Entries that are computed from others: parts, stacks, transposes, adapted shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from initium.checkpoint.adapters import Adapter
from initium.checkpoint.entry import Entry, Found, Work, ignored
from initium.checkpoint.region import Region
from initium.errors import InitError, located


class _Derived(Entry):
    """What is made of other entries has their problems."""

    of: tuple[Entry, ...]

    def problem(self) -> str | None:
        """The first problem of the others."""
        return next((p for entry in self.of if (p := entry.problem()) is not None), None)

    def prepare(self) -> None:
        """Look at the others."""
        for entry in self.of:
            entry.prepare()


@dataclass(frozen=True, eq=False)
class Computed(_Derived):
    """The values that a function makes of those of other entries.

    Attributes:
        of: the other entries.
        function: from their tensors to the result.
    """

    of: tuple[Entry, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    text: str
    function: Callable[[list[Tensor]], Tensor]

    def read(self, key: int = 0) -> Tensor:
        """Read the others, and compute."""
        return self.function([entry.read(key) for entry in self.of])


@dataclass(frozen=True, eq=False)
class Joined(_Derived):
    """Entries laid side by side along a dimension; each is read straight into its part."""

    of: tuple[Entry, ...]
    dim: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    text: str

    def _parts(self, tensor: Tensor) -> Iterator[tuple[Entry, Tensor]]:
        first = 0
        for entry in self.of:
            length = entry.shape[self.dim]
            yield entry, tensor.narrow(self.dim, first, length)
            first += length

    def read(self, key: int = 0) -> Tensor:
        """Read each of them."""
        whole = torch.empty(self.shape, dtype=self.dtype)
        for entry, part in self._parts(whole):
            part.copy_(entry.read(key))
        return whole

    def pieces(self, tensor: Tensor, key: int = 0, found: Found = ignored) -> Iterator[Work]:
        """The pieces of each."""
        for entry, part in self._parts(tensor):
            yield from entry.pieces(part, key, found)


@dataclass(frozen=True, eq=False)
class Adapted(_Derived):
    """A tensor of a checkpoint that adapters make fit.

    Raises:
        InitError: they cannot, or what they make has another shape than wanted.
    """

    saved: Entry
    adapters: tuple[Adapter, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        with located(self.saved.text):
            shape = self.saved.shape
            for adapter in self.adapters:
                shape = adapter.shape(shape, self.shape)
            if shape != self.shape:
                names = ", ".join(adapter.describe() for adapter in self.adapters)
                raise InitError(
                    f"{names} makes {list(shape)} of {list(self.saved.shape)}, but the tensor is "
                    f"{list(self.shape)}"
                )

    @property
    def of(self) -> tuple[Entry, ...]:  # type: ignore[override]
        """The tensor as it was saved."""
        return (self.saved,)

    @property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        """As it was saved."""
        return self.saved.dtype

    @property
    def text(self) -> str:  # type: ignore[override]
        """Where it lies, and the adapters."""
        return " | ".join([self.saved.text, *(adapter.describe() for adapter in self.adapters)])

    def read(self, key: int = 0) -> Tensor:
        """Read it, and have each adapter change it."""
        tensor = self.saved.read(key)
        for adapter in self.adapters:
            tensor = adapter.adapt(tensor, self.shape, key)
        return tensor


def viewed(entry: Entry, view: Callable[[Tensor], Tensor], text: str) -> Entry:
    """A part of an entry, or its dimensions in another order: what `view` makes of a tensor.

    Of a tensor in a file only the bytes of the part are read.
    """
    if isinstance(entry, Region):
        return entry.viewed(view, text)
    shape = tuple(view(torch.empty(entry.shape, dtype=entry.dtype, device="meta")).shape)
    return Computed((entry,), shape, entry.dtype, text, lambda read: view(read[0]))


def joined(entries: Sequence[Entry], dim: int) -> Entry:
    """Entries laid side by side along a dimension.

    Raises:
        InitError: they differ in dtype, or in shape but for that dimension.
    """
    first = entries[0]
    for entry in entries:
        same = entry.shape[:dim] + entry.shape[dim + 1 :] == (
            first.shape[:dim] + first.shape[dim + 1 :]
        )
        if not same or len(entry.shape) <= dim or entry.dtype != first.dtype:
            raise InitError(
                f"cannot join {first.text} ({first.dtype}, {list(first.shape)}) and {entry.text} "
                f"({entry.dtype}, {list(entry.shape)}) along dimension {dim}"
            )
    length = sum(entry.shape[dim] for entry in entries)
    shape = (*first.shape[:dim], length, *first.shape[dim + 1 :])
    text = " + ".join(entry.text for entry in entries[:3])
    text += f" + … ({len(entries)})" if len(entries) > 3 else ""
    return Joined(tuple(entries), dim, shape, first.dtype, text)
