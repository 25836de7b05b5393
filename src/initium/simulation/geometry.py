"""Which indices every coordinate of a mesh holds: by cutting lists of indices, apart from `shard.py`.

Along each dimension of a tensor, what is held depends on the coordinates of the mesh dimensions
that shard it, and on no others. So the parts of one dimension are looked at alone: 16,384 ranks are
2,048 parts by 8, not 16,384 tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from torch import Tensor

from initium.errors import InitError

Coordinate = Sequence[int]
Indices = np.ndarray[Any, Any]
# (sort, split factor) of a placement, as the dimension that it cuts sees it
Cut = tuple[str, int]


@dataclass(frozen=True, eq=False)
class Parts:
    """The indices of one dimension, in parts.

    Attributes:
        axes: the dimensions of the mesh that cut it.
        sizes: of these.
        held: the indices at each of their coordinates, in row-major order.
        lengths: how many these are.
    """

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    held: tuple[Indices, ...]
    lengths: Indices

    def at(self, coordinate: Coordinate) -> Indices:
        """The indices that are held at a coordinate of the mesh."""
        place = 0
        for axis, size in zip(self.axes, self.sizes, strict=True):
            place = place * size + coordinate[axis]
        return self.held[place]


@dataclass(frozen=True, eq=False)
class Spread:
    """How a tensor is spread over a mesh.

    Attributes:
        shape: of the tensor.
        names: of the dimensions of its mesh; none: every rank holds all of it.
        sizes: of them.
        parts: of each dimension of the tensor.
    """

    shape: tuple[int, ...]
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    parts: tuple[Parts, ...]

    def held(self, coordinate: Coordinate) -> list[Indices]:
        """For each dimension of the tensor, the indices that are held at a coordinate."""
        return [part.at(coordinate) for part in self.parts]

    def counts(self) -> Indices:
        """The number of elements at every coordinate."""
        total = np.ones(self.sizes, dtype=np.int64)
        for part in self.parts:
            shape = [n if axis in part.axes else 1 for axis, n in enumerate(self.sizes)]
            total = total * part.lengths.reshape(shape)
        return total

    def replicas(self) -> int:
        """How many ranks of the mesh hold each element."""
        cut = {axis for part in self.parts for axis in part.axes}
        return math.prod(size for axis, size in enumerate(self.sizes) if axis not in cut)


def spread_of(tensor: Tensor) -> Spread:
    """How a plain tensor, or a DTensor, is spread, every index of every dimension held once.

    Raises:
        InitError: its parts do not make up the tensor, or its ranks hold parts of a sum.
    """
    shape = tuple(tensor.shape)
    placements = getattr(tensor, "placements", ())
    mesh: Any = getattr(tensor, "device_mesh", None)
    sizes = tuple(mesh.shape) if mesh is not None else ()
    names = tuple(mesh.mesh_dim_names or map(str, range(len(sizes)))) if mesh is not None else ()
    if any(placement.is_partial() for placement in placements):
        raise InitError(
            "its ranks hold parts of a sum (Partial), which is no place for a parameter"
        )
    return Spread(shape, names, sizes, tuple(_parts(shape, placements, sizes)))


def _parts(shape: Sequence[int], placements: Sequence[Any], sizes: Sequence[int]) -> list[Parts]:
    found = []
    for dim, size in enumerate(shape):
        axes = [a for a, p in enumerate(placements) if not p.is_replicate() and p.dim == dim]
        cuts = tuple(_cut(placements[axis]) for axis in axes)
        along = tuple(sizes[axis] for axis in axes)
        found.append(Parts(tuple(axes), along, *_divided(size, cuts, along)))
    return found


def _cut(placement: Any) -> Cut:
    factor = getattr(placement, "split_factor", None)
    return ("shard", 1) if factor is None else ("strided", int(factor))


@lru_cache(maxsize=1024)
def _divided(
    size: int, cuts: tuple[Cut, ...], sizes: tuple[int, ...]
) -> tuple[tuple[Indices, ...], Indices]:
    """The parts of `size` indices, each index in one of them alone; and how many each has."""
    parts: list[Indices] = [np.arange(size)]
    for cut, n in zip(cuts, sizes, strict=True):
        parts = [piece for part in parts for piece in _pieces(part, cut, n)]
    once = np.bincount(np.concatenate(parts), minlength=size)
    if len(once) != size or not (once == 1).all():
        raise InitError(f"{size} indices, cut {cuts} over {sizes}, are not each held by one rank")
    return tuple(parts), np.array([len(part) for part in parts], dtype=np.int64)


def _pieces(indices: Indices, cut: Cut, n: int) -> list[Indices]:
    """Indices over n ranks: in n runs; or strided: in runs that are cut each, one piece a rank."""
    kind, factor = cut
    if kind == "shard":
        return _chunks(indices, n)
    runs = [_chunks(run, n) for run in _chunks(indices, factor)]
    return [np.concatenate(pieces) for pieces in zip(*runs, strict=True)]


def _chunks(indices: Indices, n: int) -> list[Indices]:
    """N runs of equal length, but that the last ones may be shorter, or empty."""
    length = -(-len(indices) // n)
    return [indices[i * length : (i + 1) * length] for i in range(n)]


def boxes(held: Sequence[Indices]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(start, shape) of the rectangles that are made up of the held indices, in memory order.

    >>> boxes([np.array([0, 1, 4]), np.arange(2)])
    [((0, 0), (2, 2)), ((4, 0), (1, 2))]
    """
    found = []
    for box in product(*map(runs_of, held)):
        found.append((tuple(run[0] for run in box), tuple(run[1] for run in box)))
    return found


def runs_of(indices: Indices) -> list[tuple[int, int]]:
    """(first, how many) of indices that follow each other.

    >>> runs_of(np.array([0, 1, 4]))
    [(0, 2), (4, 1)]
    """
    if not len(indices):
        return []
    ends = (np.flatnonzero(np.diff(indices) != 1) + 1).tolist()
    bounds = zip([0, *ends], [*ends, len(indices)], strict=True)
    return [(int(indices[first]), end - first) for first, end in bounds]
