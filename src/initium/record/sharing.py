"""Tensors and storages: which tensors share one, and what its writes are to a tensor in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

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
from initium.record.records import Record
from initium.tree import Slot
from initium.writes import Capture, Draw, Fill, Write


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


def overlapping(slots: list[Slot]) -> set[Slot]:
    """The tensors that have elements of others: no stream of their own can draw those."""
    found: set[Slot] = set()
    for sharing in _by_storage(slots).values():
        for i, slot in enumerate(sharing):
            met = [other for other in sharing[:i] if overlap(slot.tensor, other.tensor)]
            found.update([slot, *met] if met else [])
    return found


def in_terms_of(tensor: Tensor, writes: Iterable[Write], record: Record) -> list[Write] | None:
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
