"""Rectangular blocks of a tensor: which elements of its stream they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """A rectangular part of a global tensor, such as the shard that a rank holds.

    Attributes:
        of: the shape of the global tensor.
        start: the index of the part's first element in it.
        shape: the shape of the part.

    >>> Block(of=(4, 6), start=(1, 0), shape=(2, 6)).runs()
    [(6, 12, 12, 1)]
    >>> Block(of=(4, 6), start=(1, 2), shape=(2, 3)).runs()
    [(8, 3, 6, 2)]
    """

    of: Shape
    start: Shape
    shape: Shape

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def runs(self) -> list[tuple[int, int, int, int]]:
        """The elements as (first, run, stride, runs), in row-major order of the block.

        `run` elements that follow each other in the global tensor, from element `first` on, then
        again `stride` further, `runs` times.
        """
        strides = [math.prod(self.of[d + 1 :]) for d in range(len(self.of))]
        d, run = self._joined(len(self.of), 1)
        outer, runs = (d, 1) if d == 0 else self._joined(d, 1)
        stride = strides[d - 1] if d else run
        base = sum(i * stride for i, stride in zip(self.start, strides, strict=True))
        return [
            (base + sum(i * s for i, s in zip(index, strides, strict=False)), run, stride, runs)
            for index in product(*map(range, self.shape[:outer]))
        ]

    def _joined(self, end: int, n: int) -> tuple[int, int]:
        """The dimensions before `end` that make one progression: (first of them, elements)."""
        while end:
            end -= 1
            n *= self.shape[end]
            if self.shape[end] != self.of[end]:
                break
        return end, n

    def pieces(self, most: int) -> Iterator[Block]:
        """The block in parts of at most `most` elements, each contiguous in the block."""
        if self.numel <= most:
            yield self
            return
        d = next(d for d in range(len(self.shape)) if math.prod(self.shape[d + 1 :]) <= most)
        inner = self.shape[d + 1 :]
        step = most // math.prod(inner)
        for index in product(*map(range, self.shape[:d])):
            for i in range(0, self.shape[d], step):
                shape = (*(1 for _ in index), min(step, self.shape[d] - i), *inner)
                yield self.part(Block(self.shape, (*index, i, *(0 for _ in inner)), shape))

    def part(self, inside: Block) -> Block:
        """The part of this block that lies at `inside`, a block of this one's shape."""
        start = tuple(a + b for a, b in zip(self.start, inside.start, strict=True))
        return Block(self.of, start, inside.shape)

    def slices(self) -> tuple[slice, ...]:
        """The index of the block in its global tensor."""
        return tuple(slice(i, i + n) for i, n in zip(self.start, self.shape, strict=True))
