"""User code in a plan: it runs while a recorder is on, and what it writes becomes part of the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from initium.here import HERE
from initium.planning.standing_in import StandIns
from initium.record import (
    Recorder,
    adopt,
    finish,
    geometry,
    is_plain,
    recorded_by,
    whole_and_alone,
)
from initium.record.records import Record
from initium.seeds import fresh_seed
from initium.streams import Generators, keys_of
from initium.tree import Slot
from initium.writes import USER_CODE, Capture, Draw, Write, surviving

if TYPE_CHECKING:
    from initium.planning.build import Planner


class UserCode:
    """The part of a planner that runs user code.

    Args:
        planner: what it writes is added to this one's writes.
        recorder: that has seen how the model was made; None: the model was there before.
        joined: whether the recorder goes on after the plan, and carries out what is added.
    """

    def __init__(self, planner: Planner, recorder: Recorder | None, joined: bool) -> None:
        self.planner = planner
        self.recorder, self.joined = recorder, joined
        self._built = recorder is not None
        self.confirmed = False
        self._marked: list[Any] = []
        self._stand_ins = StandIns()
        self._prior: dict[int, list[Slot]] | None = None
        if recorder is not None:
            planner.next_order = recorder.next_order  # type: ignore[method-assign]

    def adopted(self) -> dict[Slot, list[Write]]:
        """What was written to each tensor so far."""
        slots = self.planner.tree.slots
        if self.recorder is None:
            return {slot: [] for slot in slots}
        return adopt(self.recorder, slots, named=not self.joined)

    def stream(self, slot: Slot) -> Draw | int | None:
        """The stream of what a rule draws: the tensor's own, by its name, once that is final."""
        if not self.joined:
            return None
        if self.planner.seed is None:
            return Draw()
        return keys_of(self.planner.seed)(slot.path)

    def run(self, module: nn.Module, info: str, code: Callable[[], Any]) -> Any:
        """Run code, and add what it writes."""
        if self.recorder is None:
            self.recorder = self._new()
            self._stand_ins.take(self.planner.tree)
        recorder = self.recorder
        before = recorder.by, recorder.info
        recorder.by, recorder.info = USER_CODE, info
        try:
            with recorded_by(recorder):
                result = code()
        finally:
            recorder.by, recorder.info = before
        self._grow(module)
        return result

    def _new(self) -> Recorder:
        planner = self.planner
        if planner.rng == "torch":
            assert planner.seed is None or isinstance(planner.seed, int)
            generators = Generators(planner.seed)
            return Recorder(planner.seed or 0, generators, planner.next_order, self._record_of)
        # what it reads must have its values now
        planner.seed = fresh_seed() if planner.seed is None else planner.seed
        return Recorder(planner.seed, None, planner.next_order, self._record_of)

    def _record_of(self, storage: int) -> Record | None:
        """The record of memory that was there before: what is planned for it so far."""
        if self._prior is None:
            self._prior = {}
            for slot in self.planner.tree.slots:
                if is_plain(slot.tensor):
                    self._prior.setdefault(slot.tensor.untyped_storage()._cdata, []).append(slot)
        slots = self._prior.get(storage)
        if slots is None:
            return None
        record = Record.of(slots[0].tensor, born=False)
        if whole_and_alone(slots):
            record.writes = self.planner.writes[slots[0]]
            record.shape, record.path = geometry(slots[0].tensor), slots[0].path
        else:
            self._put(record, slots)
        return record

    def _put(self, record: Record, slots: list[Slot]) -> None:
        """Have what is planned for several tensors in one memory, which is the truth from then on."""
        assert self.recorder is not None
        record.save(slots[0].tensor)
        for slot in slots:
            self.recorder.put(slot.path, slot.tensor.detach(), surviving(self.planner.writes[slot]))
        source = "the plan so far"
        order, reason = self.planner.next_order(), "a view of other memory"
        record.writes.append(Capture(order, source, source, reason, by=USER_CODE))
        record.settled = 1

    def _grow(self, module: nn.Module) -> None:
        """Take tensors into the tree that the code has created."""
        tree = self.planner.tree
        if all(
            tensor is None or (id(holder), local) in tree.at
            for holder in module.modules()
            for local, tensor in (*holder._parameters.items(), *holder._buffers.items())
        ):
            return
        assert self.recorder is not None
        with self.recorder.off():
            self.planner.writes.update(adopt(self.recorder, tree.grow(), named=not self.joined))

    def finished(self, writes: Mapping[Slot, list[Write]]) -> dict[Slot, list[Write]]:
        """The writes as the plan shall have them."""
        recorder = self.recorder
        if recorder is None or self.joined:
            return dict(writes)
        seed = self.planner.seed
        with recorder.off():
            done = {slot: finish(recorder, slot, noted, seed) for slot, noted in writes.items()}
        self._stand_ins.check(done)
        return done

    def born(self, slots: Mapping[Slot, Any]) -> list[Slot]:
        """The tensors whose memory was allocated while recording: nothing is in it yet."""
        if self.recorder is None or self.joined:
            return []
        found = []
        for slot in slots:
            record = self.recorder.known(slot.tensor) if is_plain(slot.tensor) else None
            if record is not None and record.born:
                found.append(slot)
        return found

    def lost(self) -> list[tuple[Any, str]]:
        """Writes to what a parametrization computes."""
        return [] if self.recorder is None or self.joined else self.recorder.lost

    def mark(self, modules: Iterable[Any]) -> None:
        """Mark modules as initialised, which holds if the plan is carried out."""
        for module in modules:
            if not module._is_init:
                module._is_init = True
                self._marked.append(module)

    @contextmanager
    def closing(self) -> Iterator[None]:
        """What user code starts within belongs to this plan; at the end, all is as it was before.

        Memory that was there before the recording is put back, and modules are initialised only if
        the plan is `confirmed`. Nothing is left half made: what the code created has its values.
        """
        outer, HERE.planner = HERE.planner, self.planner
        try:
            yield
        finally:
            HERE.planner = outer
            for module in self._marked if not self.confirmed else ():
                module._is_init = False
            try:
                self._leave()
            finally:
                self._stand_ins.leave()

    def _leave(self) -> None:
        recorder = self.recorder
        if recorder is None or self.joined:
            return
        if self.confirmed:
            recorder.commit(slot.tensor for slot in self.planner.writes)
            return
        recorder.restore()
        if not self._built:  # else the model is thrown away
            for slot in self.born(self.planner.writes):
                recorder.settle(recorder.known(slot.tensor), slot.tensor)
