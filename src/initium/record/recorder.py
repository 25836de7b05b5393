"""The recorder: what happens to every storage while it is on, noted instead of done.

`modes.py` tells it which operations torch dispatches; here is what they mean for the storages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from initium.errors import InitError
from initium.initializers import Constant, Initializer, Normal, TruncNormal, Uniform, check_tensor
from initium.record.geometry import covers, geometry, is_all, is_plain
from initium.record.program import Program
from initium.record.random import OwnRandomness
from initium.record.records import Record, converted
from initium.record.source import source
from initium.streams import Generators, Seed, keys_of
from initium.writes import CONSTRUCTOR, Capture, Draw, Fill, Write, surviving
from initium.writing import Target, Writer, write_fill

# Writes to one tensor that are noted one by one; what fills it row by row is better run.
MANY = 256
# what they draw does not depend on the shape of the tensor
_SHAPELESS = (Constant, Normal, TruncNormal, Uniform)


class Recorder:
    """Notes what is written to storages, and runs the notes where the values are needed.

    Args:
        seed: of the values that are needed before the tensors have names.
        generators: torch's generators, where they draw (`rng="torch"`).
        next_order: numbers the writes; shared with the plan that they become part of.
        prior: asked for the record of memory that was there before: what is planned for it.
        exact: nothing is dropped; everything runs in program order on torch's generators.
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
        self.program = Program() if exact else None
        self.generators = generators
        self.builds = builds
        self.next_order = next_order or count(1).__next__
        self.prior = prior
        self.random = OwnRandomness(seed)
        self.records: dict[int, Record] = {}
        self.by, self.info = CONSTRUCTOR, ""
        self.paused = False
        self.key = keys_of(seed)
        self.draws = 0
        self.parent: Recorder | None = None
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

    # ---- storages

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

    # ---- what is noted

    def fill(self, tensor: Tensor, initializer: Initializer, stream: Any = None) -> bool:
        """Note a fill of a tensor, which may be a view; False: it has to be run."""
        record = self.record(tensor)
        whole = covers(tensor, tensor.untyped_storage().nbytes())
        if record.escaped or not _fits(tensor, initializer):
            return False
        if not whole and (record.captured or tensor.dtype != record.dtype):
            return False
        if len(record.writes) >= MANY:
            record.writes[:] = surviving(record.writes)
            if len(record.writes) >= MANY and not whole:
                return False
        if not whole and not record.born and not record.writes:
            record.dtype = tensor.dtype
        where = None if whole else geometry(tensor)
        fill = self._fill(initializer, where, stream)
        record.writes.append(fill)
        self._check_lost(record, fill.source)
        if whole:
            record.dtype = tensor.dtype
        return True

    def _check_lost(self, record: Record, source: str) -> None:
        if record.computed is not None:
            self.lost.append((record.computed, source))

    def _fill(self, initializer: Initializer, where: Any, stream: Any) -> Fill:
        said = source()
        stream = Draw() if stream is None else stream
        info = self.info or f"Initialized by {said}"
        return Fill(self.next_order(), said, info, initializer, where, stream, self.by)

    def write(self, tensor: Tensor, initializer: Initializer, stream: int | None = None) -> None:
        """Note a fill, or carry it out where it cannot be noted."""
        with self.off():
            if self.program is None and self.fill(tensor, initializer, stream):
                return
            record = self.record(tensor)
            self.settle(record, tensor)
            record.save(tensor)
            self.draws += 1
            key = self.key(f"draw {self.draws}") if stream is None else stream
            write_fill(tensor, initializer, key)
            self.capture(tensor, type(initializer).__name__)

    def note_call(
        self, tensor: Tensor, make: Callable[[], Initializer], run: Callable[[Tensor], Any]
    ) -> bool:
        """Note a whole function as one fill; False: it has to be run."""
        with self.off():
            try:
                noted = is_plain(tensor) and self.fill(tensor, make())
            except InitError:
                return False  # torch shall say what is wrong
            if noted:
                self.later(run, tensor)
        return noted

    def later(self, run: Callable[..., Any], *arguments: Any) -> None:
        """Put an operation off that was noted, where nothing is dropped."""
        if self.program is not None:
            # tensors as they are now: transposed in place or given other data, they would be others
            now = [a.detach() if isinstance(a, Tensor) else a for a in arguments]
            self.program.add(partial(run, *now))

    def computed(self, tensor: Tensor, parametrization: nn.Module) -> None:
        """Note that a parametrization has computed a tensor: what is written to that is lost."""
        with self.off():
            own = {p.untyped_storage()._cdata for p in parametrization.parameters() if is_plain(p)}
            if is_plain(tensor) and tensor.untyped_storage()._cdata not in own:
                self.record(tensor).computed = parametrization

    def follow(self, tensor: Tensor, name: str, arguments: tuple[Any, ...]) -> bool:
        """Note an elementwise operation in place; False: it has to be run."""
        record = self.known(tensor)
        if record is None or record.escaped or record.dtype != tensor.dtype:
            return False
        whole = covers(tensor, tensor.untyped_storage().nbytes())
        said = {"by": self.by, "info": self.info, "source": source()} if self.info else {}
        return record.follow(None if whole else geometry(tensor), name, arguments, said)

    def copy(self, target: Tensor, values: Tensor) -> bool:
        """Note that all of `target` gets the values of `values`; False: it has to be run."""
        source_record, record = self.known(values), self.record(target)
        if source_record is None or source_record.escaped or record.escaped:
            return False
        alike = target.shape == values.shape and is_all(target) and is_all(values)
        fills = source_record.copies() if alike and source_record.dtype == values.dtype else None
        fills = None if fills is None else converted(fills, values.dtype, target.dtype)
        if fills is None or not all(_fits(target, fill.initializer) for fill in fills):
            return False
        record.writes += [replace(fill, order=self.next_order()) for fill in fills]
        record.dtype = target.dtype
        return True

    # ---- what is run

    def settle(self, record: Record | None, tensor: Tensor) -> None:
        """Make the memory, which `tensor` lies in, what the notes say."""
        if self.program is not None:
            self.finish_program()
        elif record is not None and record.pending:
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
            self._name(write)
        Writer(self.generators).write([Target(path, tensor, writes, partial(self._key, path))])

    def _name(self, write: Write) -> None:
        stream = write.stream if isinstance(write, Fill) else None
        if isinstance(stream, Draw) and stream.name is None:
            self.draws += 1
            stream.name, stream.seed = f"draw {self.draws}", self.seed

    def _key(self, path: str, fill: Fill) -> int:
        stream = fill.stream.name if isinstance(fill.stream, Draw) else fill.stream
        return stream if isinstance(stream, int) else self.key(stream or path)

    def settle_for_others(self, tensor: Tensor) -> None:
        """Run the notes on a storage that others will write to or read unseen."""
        with self.off():
            record = self.known(tensor)
            if record is not None:
                self.settle(record, tensor)
                self.capture(tensor, "written unseen")
                record.escaped = True

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
        self._check_lost(record, said)
        info = self.info or f"Initialized by {said}"
        if len(record.writes) >= MANY:
            record.writes.clear()
        record.writes.append(Capture(self.next_order(), said, info, reason, by=self.by))
        record.dtype = tensor.dtype if record.path is None else record.dtype
        record.settled = len(record.writes)

    def finish_program(self) -> None:
        """Run what `exact` has put off."""
        if self.program is None:
            return
        with self.off():
            for record in self.records.values():
                memory = None if record.born or not record.writes else record.memory()
                if memory is not None:
                    record.save(memory)
            self.program.run()

    def commit(self, planned: Iterable[Tensor]) -> None:
        """Make the memory of tensors that no plan is of what the notes say.

        That of planned tensors, if it was there before, is put back until the plan is carried out;
        with `exact` all is carried out already.
        """
        if self.program is not None:
            planned = ()
        kept = {tensor.untyped_storage()._cdata for tensor in planned if is_plain(tensor)}
        for storage, record in list(self.records.items()):
            if storage not in kept:
                if record.pending and (memory := record.memory()) is not None:
                    self.settle(record, memory)
                record.before = None
        self.restore()

    def restore(self) -> None:
        """Put memory back that was there before the recording, as it was."""
        for record in self.records.values():
            if record.before is not None:
                memory, values = record.before
                with torch.no_grad():
                    memory.copy_(values)
                record.before = None


def _fits(tensor: Tensor, initializer: Initializer) -> bool:
    if tensor.is_contiguous() and isinstance(initializer, _SHAPELESS):
        return _fits_dtype(initializer, tensor.dtype)
    return _passes(tensor, initializer)


@lru_cache(maxsize=4096)
def _fits_dtype(initializer: Initializer, dtype: torch.dtype) -> bool:
    return _passes(torch.empty(2, dtype=dtype, device="cpu"), initializer)


def _passes(tensor: Tensor, initializer: Initializer) -> bool:
    try:
        check_tensor(tensor, initializer)
    except InitError:
        return False  # torch shall say what is wrong, or knows how
    return True
