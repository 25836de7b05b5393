"""Tensors in chunks: boxes that fill them, each in an archive of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from initium.checkpoint.blob import LocalFile, Part
from initium.checkpoint.entry import Entry, Found, Work, ignored
from initium.checkpoint.formats.torch_file import read_torch
from initium.errors import InitError, located
from initium.streams import Block

Place = tuple[int, ...]


@dataclass(frozen=True)
class Chunk:
    """A box of a tensor, and the archive that holds it.

    Attributes:
        path: the file.
        start: of the archive in the file, in bytes.
        length: of the archive, in bytes.
        offsets: of the box's first element in the tensor.
        sizes: of the box.
    """

    path: Path
    start: int
    length: int
    offsets: Place
    sizes: Place

    def of(self, tensor: Tensor) -> Tensor:
        """The box of a tensor, as a view."""
        for dim, (offset, size) in enumerate(zip(self.offsets, self.sizes, strict=True)):
            tensor = tensor.narrow(dim, offset, size)
        return tensor

    def common(self, block: Block) -> tuple[Block, tuple[slice, ...]] | None:
        """What it shares with a block of the tensor: as a block of itself, and where in the block."""
        start, shape, here = [], [], []
        for a, n, b, m in zip(self.offsets, self.sizes, block.start, block.shape, strict=True):
            first, end = max(a, b), min(a + n, b + m)
            if end <= first:
                return None
            start.append(first - a)
            shape.append(end - first)
            here.append(slice(first - b, end - b))
        return Block(self.sizes, tuple(start), tuple(shape)), tuple(here)

    def open(self, dtype: torch.dtype) -> Entry:
        """The tensor in the archive.

        Raises:
            InitError: the file is not there any more, or the archive holds something else.
        """
        try:
            file = LocalFile(self.path)
        except OSError as error:
            raise InitError(f"{self.path} cannot be opened: {error}") from error
        found = read_torch(Part(file, self.start, self.length))
        if not isinstance(found, Entry):
            raise InitError(f"{self.path} holds a {type(found).__name__} where a tensor must be")
        if found.problem() is not None:
            raise InitError(f"what {self.path} holds of it cannot be read: {found.problem()}")
        if found.shape != self.sizes or found.dtype != dtype:
            raise InitError(
                f"{self.path} holds {list(found.shape)} of {found.dtype}, but .metadata says "
                f"{list(self.sizes)} of {dtype}"
            )
        return found


@dataclass(frozen=True, eq=False)
class Assembled(Entry):
    """A tensor whose chunks lie in archives of their own, which are opened when it is read.

    Attributes:
        chunks: they fill the tensor, without overlaps.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    text: str
    chunks: tuple[Chunk, ...]

    def part(self, block: Block) -> Entry:
        """A rectangular part of it: only the chunks that it touches are read, and of them their part."""
        return Patches(block.shape, self.dtype, self.text, self, block)

    def read(self, key: int = 0) -> Tensor:
        """Each chunk, straight into its place."""
        whole = torch.empty(self.shape, dtype=self.dtype)
        for work in self.pieces(whole, key):
            work()
        return whole

    def pieces(self, tensor: Tensor, key: int = 0, found: Found = ignored) -> Iterator[Work]:
        """One piece for each chunk; a file is open only while its piece is at work."""
        for chunk in self.chunks:
            yield self._piece(chunk, chunk.of(tensor), key, found)

    def prepare(self) -> None:
        """Open every archive once: a damaged one is found before anything is written.

        Raises:
            InitError: an archive is damaged, or holds something else.
        """
        for chunk in self.chunks:
            with located(self.text):
                chunk.open(self.dtype)

    def _piece(self, chunk: Chunk, to: Tensor, key: int, found: Found) -> Work:
        def load() -> int:
            with located(self.text):
                return sum(work() for work in chunk.open(self.dtype).pieces(to, key, found))

        return load


@dataclass(frozen=True, eq=False)
class Patches(Entry):
    """A rectangular part of a tensor that is in chunks."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    text: str
    whole: Assembled
    block: Block

    def read(self, key: int = 0) -> Tensor:
        """What each chunk has of it."""
        values = torch.empty(self.shape, dtype=self.dtype)
        for work in self.pieces(values, key):
            work()
        return values

    def pieces(self, tensor: Tensor, key: int = 0, found: Found = ignored) -> Iterator[Work]:
        """One piece for each chunk that it touches."""
        for chunk in self.whole.chunks:
            common = chunk.common(self.block)
            if common is not None:
                inside, here = common
                yield self._piece(chunk, inside, tensor[here], key, found)

    def _piece(self, chunk: Chunk, inside: Block, to: Tensor, key: int, found: Found) -> Work:
        def load() -> int:
            with located(self.text):
                entry = chunk.open(self.dtype).part(inside)
                return sum(work() for work in entry.pieces(to, key, found))

        return load


def check_tiled(shape: Place, boxes: list[tuple[Place, Place]]) -> None:
    """Raise an `InitError` unless the boxes (offsets, sizes) fill the shape without overlaps."""
    for at, sizes in boxes:
        fits = len(at) == len(sizes) == len(shape)
        if not fits or any(a + n > most for a, n, most in zip(at, sizes, shape, strict=True)):
            raise InitError(f"a chunk of {list(sizes)} at {list(at)} is not within {list(shape)}")
    volume = sum(math.prod(sizes) for _, sizes in boxes)
    if volume != math.prod(shape) or _overlapping(boxes, len(shape)):
        raise InitError(f"its {len(boxes)} chunks do not fill {list(shape)} exactly once")


def _overlapping(boxes: list[tuple[Place, Place]], dims: int) -> bool:
    if len(boxes) < 2:
        return False
    # go along the dimension that is cut most often, and compare only what is there side by side
    along = max(range(dims), key=lambda dim: len({at[dim] for at, _ in boxes}))
    beside: list[tuple[Place, Place]] = []
    for box in sorted(boxes, key=lambda box: box[0][along]):
        beside = [other for other in beside if other[0][along] + other[1][along] > box[0][along]]
        if any(_overlap(box, other, dims) for other in beside):
            return True
        beside.append(box)
    return False


def _overlap(a: tuple[Place, Place], b: tuple[Place, Place], dims: int) -> bool:
    return all(
        a[0][dim] < b[0][dim] + b[1][dim] and b[0][dim] < a[0][dim] + a[1][dim]
        for dim in range(dims)
    )
