"""One tensor of a checkpoint, described but not read."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from initium.errors import InitError
from initium.finite import all_finite
from initium.streams import Block

Work = Callable[[], int]  # returns how many elements it has written
Found = Callable[[], None]  # called where NaN or infinite values were written


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

    def in_place(self) -> Tensor | None:
        """The values as pages of the file, which are read when they are used, copied when written.

        None: they must be read.
        """
        return None

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
