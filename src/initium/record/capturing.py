"""Values that memory alone knows: taken into a plan, or missing there as well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from initium.digest import digest_of
from initium.record.recorder import Recorder
from initium.record.records import Record
from initium.writes import Capture, Where, Write, surviving


def with_values(
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


def captured(recorder: Recorder, tensor: Tensor, record: Record) -> Capture:
    """The values of a tensor once the writes to its storage are run, as its last write."""
    left = surviving(record.writes)
    recorder.settle(record, tensor)
    return capture(recorder, tensor, left[-1] if left else None, "a view of other memory")


def capture(recorder: Recorder, tensor: Tensor, last: Write | None, reason: str) -> Capture:
    """The values that a tensor has now."""
    values = tensor.detach().clone()
    reason = last.reason if isinstance(last, Capture) else reason
    source = last.source if last is not None else reason
    info = last.info if last is not None else f"Initialized by {source}"
    order = recorder.next_order() if last is None else last.order
    by = recorder.by if last is None else last.by
    return Capture(order, source, info, reason, digest_of(values), by, values)


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
