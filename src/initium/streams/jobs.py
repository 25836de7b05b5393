"""Filling tensors from their streams, all of them in one parallel pass."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from initium.streams import layout, pool
from initium.streams.blocks import Block
from initium.streams.compiled import kernel
from initium.streams.distributions import Distribution
from initium.streams.memory import advise_huge_pages, has_memory, is_plain, scratch, staging
from initium.streams.parameters import Parameters, parameters

# Elements that a thread takes at a time, and how few are worth a thread of their own. `copy_` gets
# fewer: from 32,768 on, torch would start threads below ours.
GRAIN, LEAST, CAST = 1 << 18, 1 << 14, 1 << 14
# Elements that are drawn in the time that Python takes for a tensor.
SMALL = 1 << 11
# What is more than this many elements finds no place in a last-level cache.
CACHED = 1 << 23
_STORED = {
    torch.float32: layout.FLOAT32,
    torch.float64: layout.FLOAT64,
    torch.bfloat16: layout.BFLOAT16,
    torch.float16: layout.FLOAT16,
}


class Job(NamedTuple):
    """A tensor to be filled.

    Attributes:
        tensor: the memory to write; its strides and dtype do not matter to the values.
        key: of its stream (see `key_of`).
        distribution: what is drawn.
        block: which part of a global tensor this is; None: all of it.
    """

    tensor: Tensor
    key: int
    distribution: Distribution
    block: Block | None = None


def fill(jobs: Iterable[Job], advance: Callable[[int], None] | None = None) -> None:
    """Fill tensors with the values that belong to their keys.

    Element i, in row-major order of the global shape, depends on the key and on i alone: not on
    the strides, the device, the threads or other tensors. A lower precision is the rounding of the
    float32 value, kept within the bounds of the distribution. A tensor on `meta` is passed over.

    Args:
        jobs: no two may write to the same memory.
        advance: told now and then how many more elements are done.

    Raises:
        InitError: a dtype has no value within the bounds of its distribution; nothing was written.

    >>> from initium.streams import Normal
    >>> w, half = torch.empty(4, 6), torch.empty(2, 6)
    >>> fill([Job(w, 7, Normal(0, 1)), Job(half, 7, Normal(0, 1), Block((4, 6), (2, 0), (2, 6)))])
    >>> torch.equal(w[2:], half)
    True
    """
    work = _Work(jobs)
    if work.jobs:
        # of many small tensors Python is the cost, and of that threads do only one at a time
        parallel = work.total > max(4 * LEAST, SMALL * len(work.jobs))
        pool.carry_out(work.items(), parallel, advance)


class _Work:
    """The jobs in pieces for threads."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.total = 0
        self.jobs: list[tuple[Job, bool, int]] = []
        places: dict[tuple[Distribution, torch.dtype, bool], int] = {}
        tables = array("d")
        # all tables are made before the first write: after it nothing can be wrong
        for job in jobs:
            tensor = job.tensor
            n = tensor.numel()
            direct = is_plain(tensor) and tensor.dtype in _STORED
            if n and (direct or has_memory(tensor)):
                self.total += n
                kind = (job.distribution, tensor.dtype, direct)
                table = places.get(kind)
                if table is None:
                    table = places[kind] = len(places)
                    tables.extend(_numbers(parameters(kind[0], kind[1]), tensor.dtype, direct))
                self.jobs.append((job, direct, table))
        self.tables = tables
        share = self.total // (16 * torch.get_num_threads())
        self.grain = min(max(share, LEAST), GRAIN)
        self.kernel = kernel("draw")

    def items(self) -> Iterator[pool.Work]:
        rows, waiting = array("Q"), 0
        for job, direct, table in self.jobs:
            if not direct:
                yield from self._staged(job, table)
                continue
            for row in self._rows(job, table):
                rows.extend(row)
                waiting += row[3] * row[5]
                if waiting >= self.grain:
                    yield self._direct(rows, waiting)
                    rows, waiting = array("Q"), 0
        if rows:
            yield self._direct(rows, waiting)

    def _rows(self, job: Job, table: int) -> Iterable[tuple[int, ...]]:
        """The rows (see `layout.COLUMNS`) of a tensor whose memory is written directly."""
        n = job.tensor.numel()
        if job.block is None and n <= self.grain:  # small tensors come by the thousand
            return ((job.tensor.data_ptr(), job.key, 0, n, n, 1, table),)
        advise_huge_pages(job.tensor)
        block = job.block or Block((n,), (0,), (n,))
        return _rows_of(block.pieces(self.grain), job, table)

    def _direct(self, rows: array[int], n: int) -> pool.Work:
        def work() -> int:
            self._draw(rows)
            return n

        return work

    def _staged(self, job: Job, table: int) -> Iterator[pool.Work]:
        """Drawn aside, then cast, scattered over strides or sent to a device by `copy_`."""
        data = job.tensor.detach()
        whole = Block(tuple(data.shape), (0,) * data.dim(), tuple(data.shape))
        for part in whole.pieces(self.grain):
            place = part if job.block is None else job.block.part(part)
            yield self._copied(data[part.slices()], place, job, table)

    def _copied(self, target: Tensor, place: Block, job: Job, table: int) -> pool.Work:
        def work() -> int:
            dtype = torch.float64 if target.dtype == torch.float64 else torch.float32
            values = staging(place.numel, dtype, target.is_cuda).view(target.shape)
            rows = _rows_of([place], job, table, into=values)
            self._draw(array("Q", chain.from_iterable(rows)))
            whole = Block(place.shape, (0,) * target.dim(), place.shape)
            with torch.inference_mode():  # a tensor made in it can be written in it alone
                for part in whole.pieces(CAST if target.is_cpu else place.numel):
                    target[part.slices()].copy_(values[part.slices()])
            return place.numel

        return work

    def _draw(self, rows: array[int]) -> None:
        n = len(rows) // len(layout.COLUMNS)
        tables = self.tables.buffer_info()[0]
        self.kernel(rows.buffer_info()[0], n, tables, scratch(), self.total > CACHED)


def _rows_of(
    places: Iterable[Block], job: Job, table: int, into: Tensor | None = None
) -> Iterator[tuple[int, ...]]:
    """One row a run of the places, which follow each other in memory."""
    memory = job.tensor if into is None else into
    address, size = memory.data_ptr(), memory.element_size()
    for place in places:
        for first, run, stride, runs in place.runs():
            yield address, job.key, first, run, stride, runs, table
            address += run * runs * size


def _numbers(known: Parameters, dtype: torch.dtype, direct: bool) -> list[float]:
    stored = layout.FLOAT64 if known.keeps_double else layout.FLOAT32
    numbers = [known.kind, known.double, _STORED[dtype] if direct else stored, *known.numbers]
    return numbers + [0.0] * (layout.NUMBERS - len(numbers))
