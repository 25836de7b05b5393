"""Do the shards of all ranks make up a tensor, and does `initium.shard` see them where they are?

`geometry.py` cuts the indices of every dimension for every coordinate, and sees that each is held
once. Here, on ranks that are tried one after the other, the blocks that `initium.shard` finds by
torch's own means are compared with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from initium.errors import InitError
from initium.shard import pieces_of
from initium.simulation.counting import Share, placements_of
from initium.simulation.geometry import Spread, boxes
from initium.simulation.mesh import Layout, as_rank
from initium.simulation.ranks import root_of

# Up to so many ranks are all tried; of more, some: the first, the last, and by chance.
ALL, SOME = 64, 16


@dataclass(frozen=True)
class Tiled:
    """A tensor whose shards, over all ranks, were found to make it up.

    Attributes:
        name: of the tensor.
        shape: of the tensor.
        placed: how it lies over the mesh.
        shards: how many different parts of it there are, empty ones left out.
        smallest: elements of the smallest of these.
        largest: elements of the largest of these.
        replicas: how many ranks hold each element.
        ranks: on how many ranks the blocks of `initium.shard` were compared.
    """

    name: str
    shape: tuple[int, ...]
    placed: str
    shards: int
    smallest: int
    largest: int
    replicas: int
    ranks: int


def sample(shares: Sequence[Share]) -> list[Share]:
    """Tensors to look at: the largest, the most uneven, one of 1 dimension, one cut in runs."""
    spread = [share for share in shares if share.spread.names and share.line.elements()]
    runs = [share for share in spread if "runs" in placements_of(share.slot)]
    flat = [share for share in spread if len(share.spread.shape) == 1]
    found = [max(some, key=by) for some, by in _wishes(spread, runs, flat) if some]
    return list(dict.fromkeys(found))


def _wishes(
    spread: list[Share], runs: list[Share], flat: list[Share]
) -> Iterator[tuple[list[Share], Callable[[Share], float]]]:
    yield spread, _size
    yield spread, _unevenness
    yield flat, _unevenness
    yield runs, _unevenness


def _size(share: Share) -> float:
    return share.line.elements()


def _unevenness(share: Share) -> float:
    """The largest part of a tensor as a multiple of what it would be in equal parts."""
    counts = share.spread.counts()
    return float(counts.max() / counts.mean())


def tiled(
    shares: Sequence[Share], roots: Sequence[Layout], world: int, rank: int, seed: int = 0
) -> list[Tiled]:
    """Compare the shards of tensors on a sample of ranks, or on all; what was found.

    Raises:
        InitError: `initium.shard` and the cut indices do not agree.
    """
    placed = [(share, root) for share in shares if (root := root_of(share.spread, roots))]
    ranks = _ranks(world, rank, seed) if placed else []
    for other in ranks:
        as_rank(world, other, partial(_compare, placed, other))
    compared = {share: len(ranks) for share, _ in placed}
    return [_described(share, world, compared.get(share, 0)) for share in shares]


def _described(share: Share, world: int, ranks: int) -> Tiled:
    counts = share.spread.counts()
    filled, replicas = counts[counts > 0], share.spread.replicas()
    return Tiled(
        share.slot.name,
        share.spread.shape,
        placements_of(share.slot),
        filled.size // replicas,
        int(filled.min()),
        int(filled.max()),
        replicas * (world // max(1, counts.size)),
        ranks,
    )


def _ranks(world: int, rank: int, seed: int) -> list[int]:
    if world <= ALL:
        return list(range(world))
    some = random.Random(seed).sample(range(world), SOME)  # noqa: S311 (no secret)
    return sorted({0, rank, world - 1, *some})


def _compare(placed: Sequence[tuple[Share, Layout]], rank: int) -> None:
    """Look at tensors as the rank that is pretended has them."""
    meshes: dict[Layout, Any] = {}
    for share, root in placed:
        fit = root.ending_in(share.spread.names)
        mesh = meshes[fit] if fit in meshes else meshes.setdefault(fit, fit.mesh())
        names = share.spread.names
        part = mesh if names == fit.names else mesh[names if len(names) > 1 else names[0]]
        coordinate = tuple(part.get_coordinate())
        tensor = _spread_over(part, coordinate, share)
        check_blocks(tensor, share.spread, coordinate, share.slot.name, rank)


def _spread_over(mesh: Any, coordinate: Sequence[int], share: Share) -> Tensor:
    """The tensor as the rank at a coordinate has it."""
    from torch.distributed.tensor import DTensor

    whole = torch.empty(share.spread.shape, dtype=share.slot.tensor.dtype, device="meta")
    local = whole.new_empty(tuple(map(len, share.spread.held(coordinate))))
    where: Any = share.slot.tensor.placements  # type: ignore[attr-defined]
    return DTensor.from_local(
        local, mesh, where, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def check_blocks(
    tensor: Tensor, spread: Spread, coordinate: Sequence[int], name: str, rank: int
) -> None:
    """Raise unless the blocks of `initium.shard` are those of the cut indices."""
    found = [(p.block.start, p.block.shape) for p in pieces_of(tensor) if p.block is not None]
    wanted = boxes(spread.held(coordinate))
    if found != wanted:
        raise InitError(
            f"{name}: rank {rank} holds {_short(found)} by initium.shard, but {_short(wanted)} by "
            "cutting its indices; this is a fault of Initium or torch, please report it"
        )


def _short(found: list[Any]) -> str:
    return ", ".join(map(str, found[:3])) + (" …" if len(found) > 3 else "")
