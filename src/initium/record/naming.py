"""Recorded storages -> the writes of a model's tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from initium.record.capturing import capture, captured, with_values
from initium.record.geometry import geometry, is_plain
from initium.record.recorder import Recorder
from initium.record.records import Record
from initium.record.sharing import in_terms_of, overlapping, whole_and_alone
from initium.streams import Seed, keys_of
from initium.tree import Slot
from initium.writes import Draw, Fill, Write, surviving

FOREIGN = "made outside of the recording"


def adopt(recorder: Recorder, slots: Iterable[Slot], named: bool = True) -> dict[Slot, list[Write]]:
    """The writes to every tensor of a model that was made while recording.

    A list goes on growing as the recorder notes more. A tensor that is only a part of its storage,
    or shares it, gets its own list at once.

    Args:
        recorder: that has seen how they were made.
        slots: the tensors.
        named: whether their paths are final; then streams are named after them.
    """
    slots = list(slots)
    alone = whole_and_alone(slots)
    meeting = overlapping(slots)
    found: dict[Slot, list[Write]] = {}
    for slot in slots:
        record = recorder.known(slot.tensor) if is_plain(slot.tensor) else None
        if record is not None and slot in meeting:
            found[slot] = [captured(recorder, slot.tensor, record)]
        elif slot in alone and record is not None and _same_size(slot.tensor, record):
            if recorder.builds and not record.born and record.base is None:
                # a part of what was made outside was written to
                record.writes.insert(0, capture(recorder, slot.tensor, None, FOREIGN))
            record.shape = geometry(slot.tensor)
            record.path = slot.path if named else None
            found[slot] = record.writes
        else:
            found[slot] = _apart(recorder, slot, record)
    return found


def _same_size(tensor: Tensor, record: Record) -> bool:
    """Whether elements are as large as those that were written (of a complex view they are not)."""
    return tensor.dtype.itemsize == record.dtype.itemsize


def _apart(recorder: Recorder, slot: Slot, record: Record | None) -> list[Write]:
    tensor = slot.tensor
    if not is_plain(tensor):
        return []
    if record is None or not (record.born or record.writes):
        return [capture(recorder, tensor, None, FOREIGN)] if recorder.builds else []
    mine = in_terms_of(tensor, record.writes, record)
    return mine if mine is not None else [captured(recorder, tensor, record)]


def finish(recorder: Recorder, slot: Slot, writes: list[Write], seed: Seed | None) -> list[Write]:
    """The writes of a tensor as the plan shall have them: places as slices, streams with names.

    The names are of streams of `seed`; what another seed has named becomes a key.

    What cannot be said so is captured: the values of the tensor, as they stand in memory.
    """
    record = recorder.known(slot.tensor) if is_plain(slot.tensor) else None
    if record is not None:
        if record.writes is not writes and record.path is None:
            more = in_terms_of(slot.tensor, record.writes, record)
            more = [captured(recorder, slot.tensor, record)] if more is None else more
            known = {write.order for write in writes}
            writes = sorted([*writes, *(w for w in more if w.order not in known)], key=_order)
        else:
            mine = in_terms_of(slot.tensor, writes, record)
            writes = [captured(recorder, slot.tensor, record)] if mine is None else mine
        writes = with_values(recorder, slot.tensor, writes, record)
    return _named(slot, writes, seed)


def _order(write: Write) -> int:
    return write.order


def _named(slot: Slot, writes: list[Write], seed: Seed | None) -> list[Write]:
    """Name the streams that have no name yet after the tensor."""
    # a write that does not survive names nothing: its drawing may live on elsewhere
    lives = {id(write) for write in surviving(writes)}
    parts, named = 0, list(writes)
    for i, write in enumerate(writes):
        draw = write.stream if isinstance(write, Fill) else None
        if not isinstance(draw, Draw) or not isinstance(write, Fill):
            continue
        own = slot.path if write.where is None else f"{slot.path}#{parts}"
        parts += write.where is not None
        if draw.name is None and id(write) in lives:
            draw.name, draw.seed = own, seed
        named[i] = replace(write, stream=_stream(write, draw, slot, own, seed))
    return named


def _stream(write: Fill, draw: Draw, slot: Slot, own: str, seed: Seed | None) -> str | int | None:
    name = draw.name or own
    if not write.initializer.random:
        return None
    if draw.name is not None and draw.seed != seed:
        return keys_of(0 if draw.seed is None else draw.seed)(name)
    return None if name == slot.path else name
