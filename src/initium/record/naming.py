"""Recorded storages -> the writes of a model's tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from initium.digest import digest_of
from initium.errors import InitError
from initium.initializers import check_tensor
from initium.record.geometry import (
    Geometry,
    covers,
    geometry,
    inside,
    is_plain,
    meet,
    overlap,
    where_in,
)
from initium.record.recorder import Recorder
from initium.record.records import Record
from initium.streams import Seed, keys_of
from initium.tree import Slot
from initium.writes import Capture, Draw, Fill, Where, Write, surviving

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
    meeting = _meeting(slots)
    found: dict[Slot, list[Write]] = {}
    for slot in slots:
        record = recorder.known(slot.tensor) if is_plain(slot.tensor) else None
        if record is not None and slot in meeting:
            found[slot] = [_captured(recorder, slot.tensor, record)]
        elif slot in alone and record is not None and _same_size(slot.tensor, record):
            if recorder.builds and not record.born and record.base is None:
                # a part of what was made outside was written to
                record.writes.insert(0, _capture(recorder, slot.tensor, None, FOREIGN))
            record.shape = geometry(slot.tensor)
            record.path = slot.path if named else None
            found[slot] = record.writes
        else:
            found[slot] = _apart(recorder, slot, record)
    return found


def _same_size(tensor: Tensor, record: Record) -> bool:
    """Whether elements are as large as those that were written (of a complex view they are not)."""
    return tensor.dtype.itemsize == record.dtype.itemsize


def _meeting(slots: list[Slot]) -> set[Slot]:
    """The tensors that have elements of others: no stream of their own can draw those."""
    found: set[Slot] = set()
    for sharing in _by_storage(slots).values():
        for i, slot in enumerate(sharing):
            met = [other for other in sharing[:i] if overlap(slot.tensor, other.tensor)]
            found.update([slot, *met] if met else [])
    return found


def _apart(recorder: Recorder, slot: Slot, record: Record | None) -> list[Write]:
    tensor = slot.tensor
    if not is_plain(tensor):
        return []
    if record is None or not (record.born or record.writes):
        return [_capture(recorder, tensor, None, FOREIGN)] if recorder.builds else []
    mine = _in_terms_of(tensor, record.writes, record)
    return mine if mine is not None else [_captured(recorder, tensor, record)]


def finish(recorder: Recorder, slot: Slot, writes: list[Write], seed: Seed | None) -> list[Write]:
    """The writes of a tensor as the plan shall have them: places as slices, streams with names.

    The names are of streams of `seed`; what another seed has named becomes a key.

    What cannot be said so is captured: the values of the tensor, as they stand in memory.
    """
    record = recorder.known(slot.tensor) if is_plain(slot.tensor) else None
    if record is not None:
        if record.writes is not writes and record.path is None:
            more = _in_terms_of(slot.tensor, record.writes, record)
            more = [_captured(recorder, slot.tensor, record)] if more is None else more
            known = {write.order for write in writes}
            writes = sorted([*writes, *(w for w in more if w.order not in known)], key=_order)
        else:
            mine = _in_terms_of(slot.tensor, writes, record)
            writes = [_captured(recorder, slot.tensor, record)] if mine is None else mine
        writes = _with_values(recorder, slot.tensor, writes, record)
    return _named(slot, writes, seed)


def _order(write: Write) -> int:
    return write.order


def _with_values(
    recorder: Recorder, tensor: Tensor, writes: list[Write], record: Record
) -> list[Write]:
    """Take the captured values, if they count, from the memory."""
    left = surviving(writes)
    base = left[0] if left else None
    if not isinstance(base, Capture) or base.values is not None:
        return writes
    recorder.settle(record, tensor)
    values = tensor.detach().clone()
    captured = replace(base, values=values, digest=digest_of(values))
    # parts that were written on top are in the memory, too
    return [captured if write is base else write for write in writes if write not in left[1:]]


def _captured(recorder: Recorder, tensor: Tensor, record: Record) -> Capture:
    left = surviving(record.writes)
    recorder.settle(record, tensor)
    return _capture(recorder, tensor, left[-1] if left else None, "a view of other memory")


def _capture(recorder: Recorder, tensor: Tensor, last: Write | None, reason: str) -> Capture:
    """The values that a tensor has now."""
    values = tensor.detach().clone()
    reason = last.reason if isinstance(last, Capture) else reason
    source = last.source if last is not None else reason
    info = last.info if last is not None else f"Initialized by {source}"
    order = recorder.next_order() if last is None else last.order
    by = recorder.by if last is None else last.by
    return Capture(order, source, info, reason, digest_of(values), by, values)


def _in_terms_of(tensor: Tensor, writes: Iterable[Write], record: Record) -> list[Write] | None:
    """The writes to a storage as writes to one tensor in it; None: they cannot be said so."""
    mine = geometry(tensor)
    whole = covers(tensor, tensor.untyped_storage().nbytes())
    found: list[Write] = []
    for write in writes:
        part = write.where
        if part is None and isinstance(write, Fill) and isinstance(write.stream, Draw):
            if not _fits(tensor, write, record, whole):
                return None
            found.append(write if whole else replace(write, stream=Draw()))
        elif isinstance(write, Capture) and not whole:
            return None
        elif not isinstance(part, Geometry) or not isinstance(write, Fill):
            found.append(write)
        elif part == mine:
            found.append(replace(write, where=None))
        elif meet(part, mine):
            where = where_in(part, tensor) if inside(part, mine) else None
            if where is None or tensor.dtype != record.dtype:
                return None
            found.append(replace(write, where=where))
    return found


def _fits(tensor: Tensor, fill: Fill, record: Record, whole: bool) -> bool:
    """Whether a fill of the storage is one of the tensor, with the same values."""
    assert isinstance(fill.stream, Draw)
    drawn = fill.stream.name is not None and fill.initializer.random
    if drawn and not (whole and tensor.is_contiguous()):
        return False  # the memory has the values in another order
    try:
        check_tensor(tensor, fill.initializer)
    except InitError:
        return False
    return tensor.dtype == record.dtype


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


def whole_and_alone(slots: list[Slot]) -> set[Slot]:
    """The tensors that have their storage to themselves, from end to end."""
    return {
        slot
        for (slot, *others) in _by_storage(slots).values()
        if not others and covers(slot.tensor, slot.tensor.untyped_storage().nbytes())
    }


def _by_storage(slots: Iterable[Slot]) -> dict[int, list[Slot]]:
    found: dict[int, list[Slot]] = {}
    for slot in slots:
        if is_plain(slot.tensor):
            found.setdefault(slot.tensor.untyped_storage()._cdata, []).append(slot)
    return found


def unwritten(tensor: Tensor, writes: Iterable[Write]) -> int:
    """How many elements of a tensor get no value: uninitialised memory."""
    left = surviving(writes)
    if left and left[0].where is None:
        lost = isinstance(left[0], Capture) and left[0].values is not None
        return tensor.numel() if lost and left[0].values.is_meta else 0  # type: ignore[union-attr]
    missing = torch.ones(tensor.shape, dtype=torch.bool, device="cpu")
    for write in left:
        assert isinstance(write.where, Where)
        write.where.of(missing).fill_(False)
    return int(missing.sum())
