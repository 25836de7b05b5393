"""A tensor whose bytes lie in a file: read in pieces, wholly or in part."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from initium.checkpoint.blob import Blob
from initium.checkpoint.entry import Entry, Found, Work, ignored
from initium.checkpoint.window import SIZE, Stretch, memory_of
from initium.errors import InitError
from initium.streams import Block

_PAGES = 1 << 16  # bytes; below, a map of their own would be a waste
_ROWS = 1 << 20  # bytes of rows that are read at a time, where they must be cut
_ALONE = 1 << 16  # bytes that are read by themselves, where others lie between them and the next


@dataclass(eq=False)
class Region(Entry):
    """A tensor whose bytes lie in a file.

    It is not changed; to be frozen would cost half of its making, and files have many.

    Attributes:
        blob: the file.
        offset: of its first byte.
        stride: in elements; None: contiguous.

    Raises:
        InitError: the file ends before the tensor does, or a negative number.
    """

    blob: Blob
    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    text: str
    stride: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        numbers = self.shape if self.stride is None else (*self.shape, *self.stride)
        if self.offset < 0 or min(numbers, default=0) < 0:
            raise InitError(
                f"{self.text}: negative numbers in its description; the file is damaged"
            )
        if self.stride is not None and len(self.stride) != len(self.shape):
            raise InitError(f"{self.text}: shape and stride do not fit; the file is damaged")
        end = self.offset + self._span() * self.dtype.itemsize
        if end > self.blob.size:
            raise InitError(
                f"{self.text}: the file has {self.blob.size} bytes, but the tensor ends at byte "
                f"{end}; it is cut short or damaged"
            )

    def _span(self) -> int:
        """How many elements the bytes from the first to the last one hold."""
        if self.stride is None or 0 in self.shape:
            return math.prod(self.shape)
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))

    def read(self, key: int = 0) -> Tensor:
        """The values."""
        flat = torch.empty(self._span(), dtype=self.dtype)
        if flat.numel():
            self.blob.read_into(self.offset, memory_of(flat))
        return flat.view(self.shape) if self.stride is None else self._strided(flat)

    def _strided(self, flat: Tensor) -> Tensor:
        assert self.stride is not None
        return torch.as_strided(flat, self.shape, self.stride)

    def viewed(self, view: Callable[[Tensor], Tensor], text: str) -> Region:
        """What `view` makes of it: other bytes of the file are not read."""
        whole = torch.empty(self.shape, dtype=self.dtype, device="meta")
        if self.stride is not None:
            whole = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")
        part = view(whole)
        return replace(
            self,
            offset=self.offset + int(part.storage_offset()) * self.dtype.itemsize,
            shape=tuple(part.shape),
            stride=None if part.is_contiguous() else part.stride(),
            text=text,
        )

    def in_place(self) -> Tensor | None:
        """The values as pages of the file, if it is one of this machine, and there are some."""
        if self.stride is not None or self.nbytes < _PAGES or self.offset % self.dtype.itemsize:
            return None
        memory = self.blob.private(self.offset, self.nbytes)
        return (
            None if memory is None else torch.frombuffer(memory, dtype=self.dtype).view(self.shape)
        )

    def part(self, block: Block) -> Region:
        """A rectangular part of it."""
        return self.viewed(lambda whole: whole[block.slices()], self.text)

    def pieces(self, tensor: Tensor, key: int = 0, found: Found = ignored) -> Iterator[Work]:
        """Work of some megabytes each: straight into the tensor's memory where nothing is cast."""
        if self.stride is not None and 0 not in self.shape:
            yield from self._in_rows(tensor, found)
            return
        size, width = tensor.numel(), self.dtype.itemsize
        if size == 0 or not tensor.is_contiguous():
            yield from super().pieces(tensor, key, found)
            return
        if size * width <= SIZE:
            yield Stretch(self.blob, self.offset, self.dtype, tensor, found)
            return
        flat, each = tensor.view(-1), SIZE // width
        for first in range(0, size, each):
            part = flat[first : first + each]
            yield Stretch(self.blob, self.offset + first * width, self.dtype, part, found)

    def _in_rows(self, tensor: Tensor, found: Found) -> Iterator[Work]:
        """Of a shard of columns, say, what lies together by itself, or a few rows at a time."""
        stride = self.stride or ()
        if not self.shape or list(stride) != sorted(stride, reverse=True):
            yield from super().pieces(tensor, 0, found)  # transposed: each row has parts of all
            return
        if self.shape[0] == 1:
            row = self.viewed(lambda whole: whole[0], self.text)
            yield from row.pieces(tensor[0], 0, found)
            return
        for some, part in self._rows_at_once(tensor):
            if some.stride is None or some.shape[0] == 1:
                yield from some.pieces(part, 0, found)
            else:
                yield from Entry.pieces(some, part, 0, found)

    def _rows_at_once(self, tensor: Tensor) -> Iterator[tuple[Region, Tensor]]:
        assert self.stride is not None
        row = self.viewed(lambda whole: whole[0], self.text)
        alone = row.stride is None and row.nbytes >= _ALONE
        n = 1 if alone else max(1, _ROWS // max(1, self.stride[0] * self.dtype.itemsize))
        for first in range(0, self.shape[0], n):
            rows = slice(first, min(first + n, self.shape[0]))
            some = self.viewed(lambda whole, rows=rows: whole[rows], self.text)  # type: ignore[misc]
            yield some, tensor[rows]
