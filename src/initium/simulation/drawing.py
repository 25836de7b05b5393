"""The largest shards of a rank, really drawn, and compared with their elements of the stream."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from initium.digest import same_bits
from initium.errors import InitError
from initium.initializers import Chain
from initium.planning import Plan
from initium.shard import memory_of, pieces_of
from initium.simulation.counting import Share, drawn_by
from initium.simulation.geometry import Indices, runs_of
from initium.simulation.tiling import check_blocks
from initium.streams import Block, Distribution, Job, Normal, fill, keys_of
from initium.writes import Fill

# Values that are drawn to see how fast this machine is.
_TRIAL = 1 << 22


@dataclass(frozen=True)
class Drawn:
    """A shard that was drawn, and found to have the values of the global stream.

    Attributes:
        name: of the tensor.
        shape: of the shard.
        bytes: of the shard.
        pieces: in how many pieces it was drawn; 1: by `materialize`, as a rank would.
        seconds: that it took.
    """

    name: str
    shape: tuple[int, ...]
    bytes: int
    pieces: int
    seconds: float


def measured_speed() -> float:
    """Values a second that this machine draws, at a look."""
    values, seconds = torch.empty(_TRIAL), []
    for _ in range(4):  # the first may have to compile
        start = time.perf_counter()
        fill([Job(values, 0, Normal(0, 1))])
        seconds.append(time.perf_counter() - start)
    return _TRIAL / min(seconds)


def drawable(share: Share) -> bool:
    """Whether a shard can be compared with the stream: it is drawn, element by element."""
    writes = share.line.carried_out
    return (
        share.elements > 0
        and len(writes) == 1
        and isinstance(writes[0], Fill)
        and writes[0].where is None
        and isinstance(drawn_by(writes[0], share.line), Distribution)
    )


def draw_largest(
    shares: Sequence[Share], plan: Plan, most: int, limit: int, rank: int
) -> list[Drawn]:
    """Draw the largest shards of this rank, and compare each with its elements of the stream.

    Args:
        shares: of this rank.
        plan: of the model, with a seed.
        most: how many.
        limit: bytes; a larger shard is drawn in pieces of at most as many.
        rank: for messages.

    Raises:
        InitError: a value is not that of the global stream.
    """
    found = sorted(filter(drawable, shares), key=lambda share: -share.bytes)
    return [_drawn(share, plan, limit, rank) for share in found[:most]]


def _drawn(share: Share, plan: Plan, limit: int, rank: int) -> Drawn:
    tensor, name = share.slot.tensor, share.slot.name
    if share.spread.names:
        check_blocks(tensor, share.spread, share.coordinate, name, rank)
    start, seconds, pieces = time.perf_counter(), 0.0, 0
    for values, block in _values(share, plan, limit):
        seconds += time.perf_counter() - start
        pieces += 1
        if not same_bits(values, _expected(share, plan, block)):
            raise InitError(
                f"{name}: rank {rank} draws other values than the global stream has at "
                f"{list(block.start)}, {list(block.shape)}; this is a fault of Initium, please "
                "report it"
            )
        start = time.perf_counter()
    return Drawn(name, share.shape, share.bytes, 1 if share.bytes <= limit else pieces, seconds)


def _values(share: Share, plan: Plan, limit: int) -> Iterator[tuple[Tensor, Block]]:
    """Parts of the shard as Initium draws them, with their places in the tensor."""
    shape = share.spread.shape
    if share.bytes <= limit:
        memory = _materialized(share, plan)
        at = [_places(held) for held in share.spread.held(share.coordinate)]
        for box in product(*at):
            inside = tuple(slice(place, place + n) for place, (_, n) in box)
            start, size = (tuple(run[i] for _, run in box) for i in (0, 1))
            yield memory[inside], Block(shape, start, size)
        return
    whole = Block(shape, (0,) * len(shape), shape)
    for piece in pieces_of(share.slot.tensor):
        for block in (piece.block or whole).pieces(max(1, limit // share.itemsize)):
            memory = torch.empty(block.shape, dtype=share.slot.tensor.dtype)
            _fill(memory, share, plan, [Job(memory, 0, Normal(0, 1), block)])
            yield memory, block


def _places(held: Indices) -> list[tuple[int, tuple[int, int]]]:
    """Each run of the held indices, and where it is in memory."""
    at, found = 0, []
    for run in runs_of(held):
        found.append((at, run))
        at += run[1]
    return found


def _materialized(share: Share, plan: Plan) -> Tensor:
    """The shard as `materialize` makes it, in a model that has this one tensor by its name."""
    from initium.materializing import materialize

    root = owner = nn.Module()
    *above, local = share.slot.name.split(".")
    for segment in above:
        child = nn.Module()
        owner.add_module(segment, child)
        owner = child
    tensor = share.slot.tensor.detach()  # the model itself stays on meta
    if share.slot.is_buffer:
        owner.register_buffer(local, tensor)
    else:
        owner.register_parameter(local, nn.Parameter(tensor, requires_grad=False))
    line = replace(share.line, aliases=())
    materialize(root, device="cpu", plan=replace(plan, lines={line.name: line}, findings=()))
    return memory_of(getattr(owner, local))


def _expected(share: Share, plan: Plan, block: Block) -> Tensor:
    """The elements of a block, drawn one run of the global tensor after the other."""
    values = torch.empty(block.numel, dtype=share.slot.tensor.dtype)
    of, n = (math.prod(block.of),), 0
    jobs = []
    for first, run in _runs(block):
        jobs.append(Job(values[n : n + run], 0, Normal(0, 1), Block(of, (first,), (run,))))
        n += run
    _fill(values, share, plan, jobs)
    return values.view(block.shape)


def _runs(block: Block) -> Iterator[tuple[int, int]]:
    """(first element, how many) of the rows of a block, counted in the global tensor."""
    last = max((d for d, n in enumerate(block.shape) if n != block.of[d]), default=0)
    inner = math.prod(block.of[last + 1 :])
    run = math.prod(block.shape[last:])
    for index in product(*map(range, block.shape[:last])):
        first = 0
        for d in range(last):
            first = first * block.of[d] + block.start[d] + index[d]
        width = block.of[last] if block.of else 1
        yield (first * width + (block.start[last] if block.of else 0)) * inner, run


def _fill(values: Tensor, share: Share, plan: Plan, jobs: list[Job]) -> None:
    """Draw what the plan says for the tensor, wherever the jobs say."""
    write = share.line.carried_out[0]
    assert isinstance(write, Fill)
    distribution: Any = drawn_by(write, share.line)
    key = _key(write, share, plan)
    fill(job._replace(key=key, distribution=distribution) for job in jobs)
    if isinstance(write.initializer, Chain):
        write.initializer.finish(values)


def _key(write: Fill, share: Share, plan: Plan) -> int:
    if isinstance(write.stream, int):
        return write.stream
    assert write.stream is None or isinstance(write.stream, str)
    return keys_of(0 if plan.seed is None else plan.seed)(write.stream or share.slot.path)
