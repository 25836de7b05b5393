"""The storages of a recording: their notes are run where values are needed, or undone.

`recorder.py` adds to the notes; here they become memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any, TypeVar

import torch
from torch import Tensor

from initium.checkpoint import Files
from initium.record.geometry import is_plain
from initium.record.numbering import Numbering
from initium.record.random import OwnRandomness
from initium.record.records import Record
from initium.record.source import source
from initium.streams import Generators, Seed
from initium.writes import CONSTRUCTOR, Capture, Write, surviving
from initium.writing import Target, Writer

T = TypeVar("T")
# Writes to one tensor that are noted one by one; what fills it row by row is better run.
MANY = 256


class Storages:
    """What is known of the storages, and how their notes are run where values are needed.

    Args:
        seed: of the values that are needed before the tensors have names.
        generators: torch's generators, where they draw (`rng="torch"`).
        next_order: numbers the writes; shared with the plan that they become part of.
        prior: asked for the record of memory that was there before: what is planned for it.
        exact: what is noted is run as well, in the order of the program, on torch's generators.
        builds: whether a model comes out of it, every tensor of which the plan shall have.

    Attributes:
        by: who is writing now: `constructor` or `user code`.
        info: what the log says of what is written now; empty: its source.
        paused: while set, operations run as if there was no recorder.
        lost: (parametrization, source) of writes to a tensor that it has computed.
    """

    def __init__(
        self,
        seed: Seed,
        generators: Generators | None = None,
        next_order: Callable[[], int] | None = None,
        prior: Callable[[int], Record | None] = lambda _: None,
        exact: bool = False,
        builds: bool = False,
    ) -> None:
        self.seed = seed
        self.exact = exact
        self.generators = generators
        self.builds = builds
        self.next_order = next_order or count(1).__next__
        self.prior = prior
        self.random = OwnRandomness(seed)
        self.records: dict[int, Record] = {}
        self.by, self.info = CONSTRUCTOR, ""
        self.paused = False
        self.numbering = Numbering(seed)
        self.parent: Storages | None = None
        self.lost: list[tuple[Any, str]] = []

    def draws_by_default(self) -> bool:
        """Whether random values come from torch's default generators."""
        return self.generators is not None and self.generators.seed is None

    @contextmanager
    def off(self, paused: bool = True) -> Iterator[None]:
        """Run what is within as if there was no recorder."""
        before, self.paused = self.paused, paused
        try:
            yield
        finally:
            self.paused = before

    def resumed(self) -> AbstractContextManager[None]:
        """Record what is within, though the recorder is off."""
        return self.off(paused=False)

    def record(self, tensor: Tensor) -> Record:
        """The record of a tensor's storage; memory that is new to it was there before."""
        storage = tensor.untyped_storage()
        found = self.records.get(storage._cdata)
        if found is None:
            if self.parent is not None:
                self.parent.settle_for_others(tensor)
            found = self.prior(storage._cdata) or Record.of(tensor, born=False)
            self.records[storage._cdata] = found
        return found

    def known(self, tensor: Tensor) -> Record | None:
        """The record of a tensor's storage, if anything was noted of it."""
        return self.records.get(tensor.untyped_storage()._cdata)

    def birth(self, tensor: Tensor) -> Record:
        """The record of a storage that was just allocated."""
        storage = tensor.untyped_storage()
        record = self.records[storage._cdata] = Record.of(tensor, born=True)
        return record

    def check_lost(self, record: Record, source: str) -> None:
        """Note a write to a tensor that a parametrization has computed."""
        if record.computed is not None:
            self.lost.append((record.computed, source))

    def settle(self, record: Record | None, tensor: Tensor) -> None:
        """Make the memory, which `tensor` lies in, what the notes say."""
        if record is not None and record.pending:
            if not tensor.is_meta:
                with self.off():
                    self._settle(record, tensor)
            record.settled = len(record.writes)

    def _settle(self, record: Record, tensor: Tensor) -> None:
        record.save(tensor)
        left = surviving(record.writes)
        if left and isinstance(left[0], Capture):
            left = left[1:]  # its values are there
        self.put(record.path or "", record.flat(tensor), left)

    def put(self, path: str, tensor: Tensor, writes: list[Write]) -> None:
        """Write to memory now, to the tensor that the model has at `path`."""
        for write in writes:
            self.numbering.name(write)
        writer = Writer(self.numbering.key, Files(), self.generators)
        writer.write([Target(path, path, tensor, writes)])

    def settle_for_others(self, tensor: Tensor) -> None:
        """Run the notes on a storage that others will write to or read unseen."""
        with self.off():
            record = self.known(tensor)
            if record is not None:
                self.settle(record, tensor)
                self.capture(tensor, "written unseen")
                record.escaped = True

    def run_unseen(self, tensor: Tensor, name: str, run: Callable[[], T]) -> T:
        """Run what writes to a tensor without an operation that could be seen."""
        with self.off():
            self.record(tensor).save(tensor)
            result = run()
            self.capture(tensor, name)
        return result

    def escape(self, tensor: Tensor, reason: str) -> None:
        """The memory gets known to code that torch does not see: from now on it is the truth."""
        with self.off():
            record = self.record(tensor)
            self.settle(record, tensor)
            if not record.escaped:
                record.save(tensor)
                self.capture(tensor, reason)
                record.escaped = True

    def capture(self, tensor: Tensor, reason: str) -> None:
        """From now on, the memory alone knows the values of a tensor's storage."""
        record = self.record(tensor)
        if record.captured and not record.pending and record.base.by == self.by:  # type: ignore[union-attr]
            return
        said = source()
        self.check_lost(record, said)
        info = self.info or f"Initialized by {said}"
        if len(record.writes) >= MANY:
            record.writes.clear()
        record.writes.append(Capture(self.next_order(), said, info, reason, by=self.by))
        record.dtype = tensor.dtype if record.path is None else record.dtype
        record.settled = len(record.writes)

    def commit(self, planned: Iterable[Tensor]) -> None:
        """Make the memory of tensors that no plan is of what the notes say.

        That of planned tensors, if it was there before, is put back until the plan is carried out;
        with `exact` all is carried out already.
        """
        held = Counter[int]()
        for tensor in () if self.exact else planned:
            if is_plain(tensor):
                held[tensor.untyped_storage()._cdata] += tensor.nbytes
        for storage, record in list(self.records.items()):
            memory = record.memory() if record.pending else None
            if memory is not None and held[storage] < memory.untyped_storage().nbytes():
                self.settle(record, memory)  # what the plan is not of, somebody else holds
            if storage not in held:
                record.before = None
        self.restore()

    def settle_left(self) -> None:
        """Run the notes on memory that others hold, once that of the model is somewhere else."""
        for record in self.records.values():
            if record.pending and (memory := record.memory()) is not None:
                self.settle(record, memory)

    def restore(self) -> None:
        """Put memory back that was there before the recording, as it was."""
        for record in self.records.values():
            if record.before is not None:
                memory, values = record.before
                with torch.no_grad():
                    memory.copy_(values)
                record.before = None
