"""The only code of the package that writes to a parameter or buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from initium import streams
from initium.errors import located
from initium.initializers import Initializer, Keep
from initium.planning import Fill, Load
from initium.streams import Generators, Job, Whole

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Target:
    """A tensor, and what is to be written to it.

    Attributes:
        name: for messages.
        tensor: the tensor; nothing is written to one on `meta`.
        write: a fill, or the values of a checkpoint whose entry is at hand.
        key: of the tensor's stream.
    """

    name: str
    tensor: Tensor
    write: Fill | Load
    key: int


class Writer:
    """Writes targets: what is drawn in one parallel pass, or by torch in their order.

    Args:
        generators: with them, torch's own functions draw (`rng="torch"`).
        advance: told of elements that are done.
    """

    def __init__(
        self, generators: Generators | None = None, advance: Advance = lambda _: None
    ) -> None:
        self.generators = generators
        self.advance = advance

    def write(self, targets: Iterable[Target]) -> None:
        """Write them all; what can be known to be wrong has been found before."""
        written = [target for target in targets if not _is_kept(target.write)]
        jobs = []
        for target in written:
            with located(target.name):
                job = self._start(target)
            if job is None:
                self.advance(target.tensor.numel())
            else:
                jobs.append(job)
        streams.fill(jobs, self.advance)
        for target in written:
            _finish(target)

    def _start(self, target: Target) -> Job | None:
        """Write what is not drawn from a stream; a job for what is."""
        if isinstance(target.write, Load):
            assert target.write.entry is not None
            target.tensor.data.copy_(target.write.entry.read())
            return None
        return _start_fill(
            target.tensor.data, target.write.initializer, target.key, self.generators
        )


def fill_tensor(tensor: Tensor, initializer: Initializer, key: int) -> None:
    """Fill one tensor, which `check_tensor` has found fit, from the stream of `key`."""
    job = _start_fill(tensor.data, initializer, key)
    if job is not None:
        streams.fill([job])
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


def _is_kept(write: Fill | Load) -> bool:
    return isinstance(write, Fill) and isinstance(write.initializer, Keep)


def _finish(target: Target) -> None:
    if isinstance(target.write, Fill) and target.write.zero_row is not None:
        target.tensor.data[target.write.zero_row].zero_()
    _count_change(target.tensor)


def _count_change(tensor: Tensor) -> None:
    """In however many steps a tensor was written, through `.data`, autograd sees one change."""
    if not tensor.is_inference():  # which has no version
        increment_version(tensor)
