"""Which elements of a tensor are in the memory of this rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product, zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor

from initium import zero3
from initium.streams import Block, check_memory

# for each dimension (first, end, step), or None for all of it; what is left out is all, too
Slices = Sequence[tuple[int, int, int] | None]
Run = tuple[int, int]  # the first index, and how many follow each other


class Piece(NamedTuple):
    """A rectangular part of a tensor, in the memory of this rank.

    Attributes:
        memory: of the part, as a plain tensor.
        block: where the part lies in the whole tensor; None: it is the whole.
    """

    memory: Tensor
    block: Block | None

    @property
    def of_shape(self) -> tuple[int, ...]:
        """The shape of the whole."""
        return tuple(self.memory.shape) if self.block is None else self.block.of

    def of(self, whole: Tensor) -> Tensor:
        """The same part of another tensor that has the shape of the whole."""
        return whole if self.block is None else whole[self.block.slices()]


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is spread over ranks: a DTensor, or a parameter of ZeRO-3.

    >>> is_sharded(torch.zeros(3))
    False
    """
    return hasattr(tensor, "placements") or zero3.is_partitioned(tensor)


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape of the whole tensor, which fans and streams go by.

    >>> shape_of(torch.zeros(3, 2))
    (3, 2)
    """
    return tuple(getattr(tensor, "ds_shape", tensor.shape))


def check_held(tensor: Tensor) -> None:
    """Raise an `InitRangeError` where what this rank holds of a tensor cannot be written."""
    zero3.check(tensor)
    if not zero3.is_partitioned(tensor):
        check_memory(tensor)


def empty_like(tensor: Tensor) -> Tensor:
    """A tensor without values, of which this rank holds the same part."""
    if zero3.is_partitioned(tensor):
        return zero3.empty_like(tensor)
    return torch.empty_like(tensor, requires_grad=False)


def memory_of(tensor: Tensor) -> Tensor:
    """The memory of a tensor that this rank holds, as a plain tensor without a gradient."""
    if not is_sharded(tensor):
        return tensor.data
    if zero3.is_partitioned(tensor):
        return zero3.memory_of(tensor)
    with torch.no_grad():
        local: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return local.detach()


def held(tensor: Tensor) -> int:
    """How many elements of a tensor are in the memory of this rank.

    >>> held(torch.zeros(3, 2))
    6
    """
    return (memory_of(tensor) if is_sharded(tensor) else tensor).numel()


def pieces_of(tensor: Tensor, part: Slices | None = None) -> list[Piece]:
    """The pieces of a tensor, or of a part of it, that this rank holds.

    Args:
        tensor: plain, a DTensor, or a parameter of ZeRO-3.
        part: a part of the whole tensor; blocks are then counted from its first element.

    >>> [(p.memory.shape, p.block) for p in pieces_of(torch.zeros(4, 2), ((1, 3, 1), None))]
    [(torch.Size([2, 2]), None)]
    """
    if not is_sharded(tensor):
        return [Piece(tensor.data if part is None else tensor.data[_indices(part)], None)]
    if zero3.is_partitioned(tensor):
        found = [Piece(*held) for held in zero3.pieces(tensor)]
    else:
        memory = memory_of(tensor)
        found = [Piece(memory[inside], block) for inside, block in _boxes(tensor)]
    if part is None:
        return found
    return [cut for piece in found if (cut := _cut(piece, part)) is not None]


def _indices(part: Slices) -> tuple[slice, ...]:
    return tuple(slice(None) if s is None else slice(*s) for s in part)


def _boxes(tensor: Any) -> Iterator[tuple[tuple[slice, ...], Block]]:
    """The rectangles that this rank holds: where each lies in its memory, and in the whole."""
    of = tuple(tensor.shape)
    for box in product(*(_placed(runs) for runs in _held(tensor))):
        inside = tuple(slice(at, at + n) for at, (_, n) in box)
        start, shape = (tuple(run[i] for _, run in box) for i in (0, 1))
        yield inside, Block(of, start, shape)


def _held(tensor: Any) -> Iterator[list[Run]]:
    """For each dimension, the indices that this rank holds."""
    mesh, coordinate = tensor.device_mesh, tensor.device_mesh.get_coordinate()
    for dim, size in enumerate(tensor.shape):
        along = tuple(_along(placement, dim) for placement in tensor.placements)
        at = None if coordinate is None else tuple(coordinate)
        yield _runs(size, mesh, along, at)


def _along(placement: Any, dim: int) -> Any:
    """A placement as one dimension sees it, which is the first of its own."""
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.placement_types import _StridedShard

    if getattr(placement, "dim", None) != dim:
        return Replicate()
    if isinstance(placement, _StridedShard):
        return _StridedShard(0, split_factor=placement.split_factor)
    return type(placement)(0)


@lru_cache(maxsize=4096)
def _runs(size: int, mesh: Any, along: tuple[Any, ...], at: object) -> list[Run]:
    """Torch itself says which indices are here; `at`, this rank's place in the mesh, is a key."""
    del at
    from torch.distributed.tensor import distribute_tensor

    indices = torch.arange(size, device="cpu")
    if not all(placement.is_replicate() for placement in along):
        spread = distribute_tensor(indices, mesh, along, src_data_rank=None)
        indices = memory_of(spread).cpu()
    runs: list[Run] = []
    ends = torch.nonzero(indices[1:] - indices[:-1] != 1).flatten().add(1).tolist()
    for first, end in zip([0, *ends], [*ends, len(indices)], strict=True):
        if end > first:
            runs.append((int(indices[first]), end - first))
    return runs


def _placed(runs: list[Run]) -> list[tuple[int, Run]]:
    """Each run with its place in memory, where they follow each other."""
    at, found = 0, []
    for run in runs:
        found.append((at, run))
        at += run[1]
    return found


def _cut(piece: Piece, part: Slices) -> Piece | None:
    """What a piece has of a part of the whole; None: nothing."""
    assert piece.block is not None
    inside, of, start, shape = [], [], [], []
    block = piece.block
    for size, first, n, cut in zip_longest(block.of, block.start, block.shape, part):
        begin, end, step = cut or (0, size, 1)
        # the indices j of the part whose element begin + j * step lies within [first, first + n)
        low = max(0, -((begin - first) // step))
        high = min(-((begin - end) // step), -((begin - first - n) // step))
        if high <= low:
            return None
        at = begin + low * step - first
        inside.append(slice(at, at + (high - low - 1) * step + 1, step))
        of.append(-((begin - end) // step))
        start.append(low)
        shape.append(high - low)
    return Piece(piece.memory[tuple(inside)], Block(tuple(of), tuple(start), tuple(shape)))
