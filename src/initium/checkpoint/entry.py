"""One tensor of a checkpoint, described but not read."""

from __future__ import annotations

import ctypes
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from initium.checkpoint.blob import Blob
from initium.checkpoint.copying import copied
from initium.errors import InitError
from initium.finite import all_finite
from initium.streams import Block, staging

Work = Callable[[], int]  # returns how many elements it has written
Found = Callable[[], None]  # called where NaN or infinite values were written

# bytes that a thread reads at a time, and the memory it needs, where it must cast, and where not
PIECE, MAPPED = 1 << 20, 1 << 21
_ALONE = 1 << 16  # bytes that are read by themselves, where others lie between them and the next


def ignored() -> None:
    """Do nothing about NaN."""


class Entry(ABC):
    """One tensor of a checkpoint, described but not read.

    Attributes:
        shape: of the tensor.
        dtype: of the tensor, as it was saved.
        text: where it lies, for people: the key, and what is done to it.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    text: str

    @abstractmethod
    def read(self, key: int = 0) -> Tensor:
        """The values, in memory of their own.

        Args:
            key: of the random stream, where values are drawn (rows of a grown vocabulary).
        """

    def pieces(self, tensor: Tensor, key: int = 0, found: Found = ignored) -> Iterator[Work]:
        """Work that brings the values into `tensor`, of the same shape; it may be done in parallel.

        Args:
            tensor: is written to.
            key: as in `read`.
            found: called, once or more, where values are NaN or infinite; they are written, too.
        """

        def copy() -> int:
            tensor.copy_(self.read(key))
            if not all_finite(tensor):
                found()
            return tensor.numel()

        yield copy

    def part(self, block: Block) -> Entry:
        """A rectangular part of it, such as the shard of a rank; all of it is read for that."""
        return Cut(self, block)

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def problem(self) -> str | None:
        """Why the values cannot be read at all (quantised, on meta, …); None: they can."""
        return None

    def prepare(self) -> None:  # noqa: B027 (most have nothing to look at)
        """Look at everything that can be looked at before the values are read.

        Raises:
            InitError: something is damaged.
        """


@dataclass(frozen=True, eq=False)
class Cut(Entry):
    """A rectangular part of another tensor."""

    whole: Entry
    block: Block

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Of the part."""
        return self.block.shape

    @property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        """As it was saved."""
        return self.whole.dtype

    @property
    def text(self) -> str:  # type: ignore[override]
        """Of the whole."""
        return self.whole.text

    def read(self, key: int = 0) -> Tensor:
        """Read the whole, and take the part."""
        return self.whole.read(key)[self.block.slices()]


@dataclass(frozen=True, eq=False)
class Region(Entry):
    """A tensor whose bytes lie in a file.

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
        stride = self.stride or ()
        if self.offset < 0 or min((*self.shape, *stride), default=0) < 0:
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
            self.blob.read_into(self.offset, _bytes_of(flat))
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

    def part(self, block: Block) -> Region:
        """A rectangular part of it."""
        return self.viewed(lambda whole: whole[block.slices()], self.text)

    def pieces(self, tensor: Tensor, key: int = 0, found: Found = ignored) -> Iterator[Work]:
        """Work of some megabytes each: straight into the tensor's memory where nothing is cast."""
        if self.stride is not None and 0 not in self.shape:
            yield from self._in_rows(tensor, found)
            return
        if not tensor.is_contiguous() or tensor.numel() == 0:
            yield from super().pieces(tensor, key, found)
            return
        cast = tensor.dtype != self.dtype or not tensor.is_cpu
        flat, each = tensor.view(-1), (PIECE if cast else MAPPED) // self.dtype.itemsize
        for first in range(0, flat.numel(), each):
            yield _Piece(self, flat[first : first + each], first, cast, found)

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
        n = 1 if alone else max(1, PIECE // max(1, self.stride[0] * self.dtype.itemsize))
        for first in range(0, self.shape[0], n):
            rows = slice(first, min(first + n, self.shape[0]))
            some = self.viewed(lambda whole, rows=rows: whole[rows], self.text)  # type: ignore[misc]
            yield some, tensor[rows]


@dataclass(frozen=True)
class _Piece:
    region: Region
    to: Tensor
    first: int
    cast: bool
    found: Found

    def __call__(self) -> int:
        region, to = self.region, self.to
        offset = region.offset + self.first * region.dtype.itemsize
        finite = None if self.cast else copied(region.blob, offset, to)
        if finite is None:
            self._read(region.blob, offset)
            finite = all_finite(to)
        if not finite:
            self.found()
        return to.numel()

    def _read(self, blob: Blob, offset: int) -> None:
        to = self.to
        if not self.cast:
            blob.read_into(offset, _bytes_of(to))
            return
        values = staging(to.numel(), self.region.dtype, pinned=False)
        blob.read_into(offset, _bytes_of(values))
        to.copy_(values)


def _bytes_of(tensor: Tensor) -> Any:
    """The memory of a contiguous tensor as a buffer; not by numpy(), which knows fewer dtypes."""
    return (ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr())


@dataclass(frozen=True, eq=False)
class Given(Entry):
    """A tensor that is in memory already."""

    tensor: Tensor
    text: str

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Of the tensor."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        """Of the tensor."""
        return self.tensor.dtype

    def read(self, key: int = 0) -> Tensor:
        """The tensor."""
        return self.tensor


@dataclass(frozen=True, eq=False)
class Unreadable(Entry):
    """A tensor that is named in the file, but whose values cannot be had.

    Attributes:
        reason: `it is quantised (qint8)`, `it was saved on meta`, …
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    text: str
    reason: str

    def read(self, key: int = 0) -> Tensor:
        """It cannot be read."""
        raise InitError(f"{self.text} cannot be read: {self.reason}")

    def problem(self) -> str | None:
        """The reason."""
        return self.reason
