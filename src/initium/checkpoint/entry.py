"""One tensor of a checkpoint, described but not read."""

from __future__ import annotations

import ctypes
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from initium.checkpoint.blob import Blob
from initium.checkpoint.copying import copied
from initium.errors import InitError
from initium.finite import all_finite
from initium.streams import staging

Work = Callable[[], int]  # returns how many elements it has written
Found = Callable[[], None]  # called where NaN or infinite values were written

# bytes that a thread reads at a time, and the memory it needs, where it must cast, and where not
PIECE, MAPPED = 1 << 20, 1 << 21


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

    def pieces(self, tensor: Tensor, key: int = 0, found: Found = ignored) -> Iterator[Work]:
        """Work of some megabytes each: straight into the tensor's memory where nothing is cast."""
        if self.stride is not None or not tensor.is_contiguous() or tensor.numel() == 0:
            yield from super().pieces(tensor, key, found)
            return
        cast = tensor.dtype != self.dtype or not tensor.is_cpu
        flat, each = tensor.view(-1), (PIECE if cast else MAPPED) // self.dtype.itemsize
        for first in range(0, flat.numel(), each):
            yield _Piece(self, flat[first : first + each], first, cast, found)


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
