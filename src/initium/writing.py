"""The only code of the package that writes to a parameter or buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from initium import streams
from initium.checkpoint import Work
from initium.errors import located
from initium.here import recorder_here
from initium.initializers import Chain, Initializer
from initium.streams import Generators, Job, Whole, carry_out, key_from
from initium.writes import Capture, Fill, Load, Write, is_keep

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Target:
    """A tensor, and what is to be written to it.

    Attributes:
        name: for messages.
        tensor: the tensor; nothing is written to one on `meta`.
        writes: the writes that survive: of the whole tensor first, then of parts of it. Those of
            checkpoints have their entry at hand, captured values are there.
        key: of the stream of a fill, or of an adapter that draws.
    """

    name: str
    tensor: Tensor
    writes: list[Write]
    key: Callable[[Fill | Load], int]


class Writer:
    """Writes targets: what is drawn in one parallel pass, or by torch in their order.

    Args:
        generators: with them, torch's own functions draw (`rng="torch"`).
        advance: told of elements that are done.

    Attributes:
        not_finite: names of the tensors that a checkpoint filled with NaN or infinite values.
    """

    def __init__(
        self, generators: Generators | None = None, advance: Advance = lambda _: None
    ) -> None:
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
            write, data = target.writes[depth], target.tensor.data
            part = data if write.where is None else write.where.of(data)
            if isinstance(write, Load):
                reads += self._reads(part, write, target)
                continue
            with located(target.name):
                job = self._start(part, write, target)
            if job is not None:
                jobs.append(job)
            elif depth == 0:
                self.advance(data.numel())
            if isinstance(write, Fill) and isinstance(write.initializer, Chain):
                chains.append((write.initializer, part))
        carry_out(iter(reads), parallel=len(reads) > 1, advance=self.advance)
        streams.fill(jobs, self.advance)
        for chain, part in chains:
            chain.finish(part)

    def _reads(self, part: Tensor, load: Load, target: Target) -> Iterator[Work]:
        """The work of reading a tensor of a checkpoint into its place."""
        if not streams.has_memory(part):
            return iter(())
        assert load.entry is not None
        if part.is_cpu and part.is_contiguous():
            streams.advise_huge_pages(part)

        def found() -> None:
            self.not_finite[target.name] = None

        return load.entry.pieces(part, target.key(load) if load.random else 0, found)

    def _start(self, part: Tensor, write: Fill | Capture, target: Target) -> Job | None:
        """Write what is not drawn from a stream; a job for what is."""
        if isinstance(write, Fill):
            key = 0 if self.generators is not None else target.key(write)
            return _start_fill(part, write.initializer, key, self.generators)
        if streams.has_memory(part):
            part.copy_(given(write))
        return None


def given(write: Load | Capture, key: int = 0) -> Tensor:
    """The values of a checkpoint, or those that were captured; they are known to be there."""
    if isinstance(write, Load):
        assert write.entry is not None
        return write.entry.read(key)
    assert write.values is not None
    return write.values


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
        device = "cpu" if generator is None else generator.device
        write_fill(tensor, initializer, key_from(generator, device))


def write_fill(tensor: Tensor, initializer: Initializer, key: int) -> None:
    """Fill one tensor from the stream of `key`."""
    job = _start_fill(tensor.data, initializer, key)
    if job is not None:
        streams.fill([job])
    if isinstance(initializer, Chain):
        initializer.finish(tensor.data)
    _count_change(tensor)


def _start_fill(
    data: Tensor, initializer: Initializer, key: int, generators: Generators | None = None
) -> Job | None:
    drawn = initializer.draws(tuple(data.shape))
    if drawn is None or not data.numel() or not streams.has_memory(data):
        return None
    if isinstance(drawn, (int, float)):
        data.fill_(drawn)
    elif generators is not None:
        streams.fill_by_torch(data, drawn, generators.on(data.device))
    elif isinstance(drawn, Whole):
        dtype = torch.float64 if data.dtype == torch.float64 else torch.float32
        data.copy_(drawn.values(key, dtype))
    else:
        return Job(data, key, drawn)
    return None


def _count_change(tensor: Tensor) -> None:
    """In however many steps a tensor was written, through `.data`, autograd sees one change."""
    if not tensor.is_inference():  # which has no version
        increment_version(tensor)
