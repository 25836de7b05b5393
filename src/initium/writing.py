"""The only code of the package that writes to a parameter or buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from initium import streams
from initium.checkpoint import Entry, Files, Work, together
from initium.cluster import Ranks, groups_of
from initium.errors import located
from initium.folded import copy_into
from initium.here import recorder_here
from initium.initializers import Chain, Initializer
from initium.shard import Piece, is_sharded, pieces_of, shape_of
from initium.streams import Generators, Job, Whole, carry_out, key_from
from initium.writes import Capture, Fill, Load, Write, is_keep

Advance = Callable[[int], None]
Key = Callable[[str, Fill | Load], int]


class Target(NamedTuple):
    """A tensor, and what is to be written to it.

    Attributes:
        name: for messages.
        path: by which its stream is known, unless a write has a stream of its own.
        tensor: the tensor; nothing is written to one on `meta`.
        writes: the writes that survive: of the whole tensor first, then of parts of it. Captured
            values are there.
    """

    name: str
    path: str
    tensor: Tensor
    writes: list[Write]


class Writer:
    """Writes targets: what is drawn in one parallel pass, or by torch in their order.

    Args:
        key: of the stream of a fill, or of an adapter that draws, to the tensor at a path.
        files: the checkpoints that are open; what is loaded was found in them before.
        generators: with them, torch's own functions draw (`rng="torch"`).
        advance: told of elements that are done.

    Attributes:
        not_finite: names of the tensors that a checkpoint filled with NaN or infinite values.
    """

    def __init__(
        self,
        key: Key,
        files: Files,
        generators: Generators | None = None,
        advance: Advance = lambda _: None,
    ) -> None:
        self.key, self.files = key, files
        self.generators = generators
        self.advance = advance
        self.not_finite: dict[str, None] = {}

    def write(self, targets: Iterable[Target]) -> None:
        """Write them all; what can be known to be wrong has been found before."""
        written = [t for t in targets if t.writes and not is_keep(t.writes[0])]
        # the whole tensors in one pass, then one part of each, as these may lie on one another
        for depth in range(max((len(target.writes) for target in written), default=0)):
            self._pass([t for t in written if len(t.writes) > depth], depth)
        for target in written:
            _count_change(target.tensor)

    def _pass(self, targets: list[Target], depth: int) -> None:
        jobs, chains, reads = [], [], list[Work]()
        for target in targets:
            write = target.writes[depth]
            pieces = _pieces(target.tensor, write)
            if isinstance(write, Load):
                entry = write.entry(self.files, shape_of(target.tensor))
                if not (write.recipe.mmap and self._exchange(target.tensor, entry)):
                    reads += self._reads(pieces, entry, write, target)
                continue
            with located(target.name):
                started = self._start(pieces, write, target)
            jobs += started
            if not started and depth == 0:
                self.advance(sum(piece.memory.numel() for piece in pieces))
            if isinstance(write, Fill) and isinstance(write.initializer, Chain):
                chains += [(write.initializer, piece.memory) for piece in pieces]
        carry_out(together(reads), parallel=len(reads) > 1, advance=self.advance)
        streams.fill(jobs, self.advance)
        for chain, part in chains:
            chain.finish(part)

    def _reads(
        self, pieces: list[Piece], entry: Entry, load: Load, target: Target
    ) -> Iterator[Work]:
        """The work of reading a tensor of a checkpoint into its place."""
        found = partial(self.not_finite.setdefault, target.name)
        key = self.key(target.path, load) if load.random else 0
        for memory, block in pieces:
            if not streams.has_memory(memory):
                continue
            if memory.is_cpu and memory.is_contiguous():
                streams.advise_huge_pages(memory)
            here = entry if block is None else entry.part(block)
            yield from here.pieces(memory, key, found)

    def _exchange(self, tensor: Tensor, entry: Entry) -> bool:
        """Have a tensor's memory be that of the file, where that goes."""
        plain = streams.is_plain(tensor) and not tensor.is_inference()  # whose memory must stay
        if not plain or tensor.dtype != entry.dtype:
            return False
        pages = entry.in_place()
        if pages is None:
            return False
        tensor.data = pages
        self.advance(tensor.numel())
        return True

    def _start(self, pieces: list[Piece], write: Fill | Capture, target: Target) -> list[Job]:
        """Write what is not drawn from a stream; jobs for what is."""
        if isinstance(write, Fill):
            key = 0 if self.generators is not None else self.key(target.path, write)
            return _start_fill(pieces, write.initializer, key, self.generators)
        assert write.values is not None
        _copy(write.values, pieces)
        return []


def _pieces(tensor: Tensor, write: Write) -> list[Piece]:
    if write.where is None:
        return pieces_of(tensor)
    if is_sharded(tensor):
        return pieces_of(tensor, write.where.slices)
    return [Piece(write.where.of(tensor.data), None)]  # while recording, a place in memory


def fill_tensor(
    tensor: Tensor, initializer: Initializer, generator: torch.Generator | None
) -> None:
    """Fill one tensor, which `check_tensor` has found fit; a generator gives the key of its stream.

    Without a generator torch's default one does; while a recorder is on, the fill is noted, and its
    key comes from the tensor's name.
    """
    recorder = recorder_here()
    if recorder is not None:
        stream = None if generator is None else key_from(generator, generator.device)
        recorder.write(tensor, initializer, stream)
        return
    if streams.has_memory(tensor):
        key = key_from(generator, "cpu" if generator is None else generator.device)
        if is_sharded(tensor):  # each rank has drawn one
            key = Ranks(groups_of(tensor)).first(key)
        write_fill(tensor, initializer, key)


def write_fill(tensor: Tensor, initializer: Initializer, key: int) -> None:
    """Fill one tensor from the stream of `key`."""
    pieces = pieces_of(tensor)
    streams.fill(_start_fill(pieces, initializer, key))
    if isinstance(initializer, Chain):
        for piece in pieces:
            initializer.finish(piece.memory)
    _count_change(tensor)


def _start_fill(
    pieces: list[Piece], initializer: Initializer, key: int, generators: Generators | None = None
) -> list[Job]:
    pieces = [p for p in pieces if p.memory.numel() and streams.has_memory(p.memory)]
    if not pieces:
        return []
    drawn = initializer.draws(pieces[0].of_shape)
    if drawn is None:
        return []
    if isinstance(drawn, (int, float)):
        for piece in pieces:
            piece.memory.fill_(drawn)
    elif generators is not None:
        for piece in pieces:  # a plain tensor: the plan has seen to it
            streams.fill_by_torch(piece.memory, drawn, generators.on(piece.memory.device))
    elif isinstance(drawn, Whole):
        double = pieces[0].memory.dtype == torch.float64
        _copy(drawn.values(key, torch.float64 if double else torch.float32), pieces)
    else:
        return [Job(piece.memory, key, drawn, piece.block) for piece in pieces]
    return []


def _copy(whole: Tensor, pieces: list[Piece]) -> None:
    """Give each piece its part of values that are there as a whole."""
    for piece in pieces:
        if streams.has_memory(piece.memory):
            copy_into(piece.memory, piece.of(whole))


def _count_change(tensor: Tensor) -> None:
    """In however many steps a tensor was written, through `.data`, autograd sees one change."""
    if not tensor.is_inference():  # which has no version
        increment_version(tensor)
