"""A window on a file: what lies in it is brought into memory as one, and goes to its tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from initium.checkpoint.blob import Blob
from initium.checkpoint.copying import copied
from initium.checkpoint.entry import Found, Work
from initium.finite import all_finite
from initium.streams import staging

SIZE = 1 << 22  # bytes that a thread looks at, at a time: to let go of pages disturbs the others
_MAPPED = 1 << 16  # fewer are read: to map them would take longer
_GAP = 1 << 12  # bytes that nobody wants, for which it is not worth to look twice


@dataclass(eq=False, slots=True)  # frozen, it would take twice as long to make
class Stretch:
    """Elements that follow each other in a file; called, it is looked through by itself.

    Attributes:
        blob: the file.
        offset: of the first byte.
        dtype: in the file.
        to: contiguous memory that gets them, cast where it is of another dtype.
        found: told of NaN and infinite values.
    """

    blob: Blob
    offset: int
    dtype: torch.dtype
    to: Tensor
    found: Found

    def __call__(self) -> int:
        """Fill its memory; how many elements that were."""
        return Window([self])()

    @property
    def end(self) -> int:
        """The byte behind the last one."""
        return self.offset + self.to.numel() * self.dtype.itemsize

    def take(self, source: int) -> None:
        """Copy them from this address."""
        to = self.to
        if to.dtype != self.dtype or not to.is_cpu:
            memory = (ctypes.c_char * (self.end - self.offset)).from_address(source)
            to.copy_(torch.frombuffer(memory, dtype=self.dtype).view(to.shape))
            finite = all_finite(to)
        else:
            known = copied(source, to)
            if known is None:
                ctypes.memmove(to.data_ptr(), source, to.nbytes)
            finite = all_finite(to) if known is None else known
        if not finite:
            self.found()


@dataclass(frozen=True, slots=True)
class Window:
    """Stretches that lie side by side in a file, in its order."""

    stretches: list[Stretch]

    def __call__(self) -> int:
        """Fill their memory; how many elements that were."""
        start = self.stretches[0].offset
        with self._bytes(start, self.stretches[-1].end - start) as source:
            for stretch in self.stretches:
                stretch.take(source + stretch.offset - start)
        return sum(stretch.to.numel() for stretch in self.stretches)

    @contextmanager
    def _bytes(self, start: int, size: int) -> Iterator[int]:
        """The address of a copy, or of the pages of the file itself."""
        blob = self.stretches[0].blob
        if size >= _MAPPED:
            with blob.mapped(start, size) as source:
                if source is not None:
                    yield source
                    return
        buffer = staging(size, torch.uint8, pinned=False)
        blob.read_into(start, memory_of(buffer))
        yield buffer.data_ptr()


def together(work: Iterable[Work]) -> Iterator[Work]:
    """The same work; stretches of a file follow its order, and small ones are looked through as one."""
    files: dict[int, list[Stretch]] = {}
    for item in work:
        if isinstance(item, Stretch):
            files.setdefault(id(item.blob), []).append(item)
        else:
            yield item
    for found in files.values():
        found.sort(key=attrgetter("offset"))
        yield from _joined(found)


def _joined(stretches: list[Stretch]) -> Iterator[Window]:
    joined: list[Stretch] = []
    first = end = 0
    for stretch in stretches:
        its_end = stretch.end
        if joined and not (0 <= stretch.offset - end <= _GAP and its_end - first <= SIZE):
            yield Window(joined)
            joined = []
        first = first if joined else stretch.offset
        joined.append(stretch)
        end = its_end
    yield Window(joined)


def memory_of(tensor: Tensor) -> Any:
    """The memory of a contiguous tensor as a buffer; not by numpy(), which knows fewer dtypes."""
    return (ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr())
