"""Plans that are carried out while a recorder is on: noted as what user code does, or at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from initium.here import unseen
from initium.outcome import report_of
from initium.planning import Plan
from initium.record import is_plain
from initium.report import Report
from initium.shard import shape_of
from initium.todo import ToDo, stream_keys
from initium.tree import Tree
from initium.writes import Capture, Fill, Load, is_keep


def note(
    plan: Plan,
    todo: ToDo,
    write_fill: Callable[..., None],
) -> Report:
    """Have the recorder that is on note the writes, as what user code does."""
    key = None if plan.seed is None else stream_keys(plan.seed)
    for slot, writes in todo:
        for write in writes:
            tensor = slot.tensor
            if is_keep(write):
                continue
            drawn = None if key is None or isinstance(write, Capture) else key(slot.path, write)
            if isinstance(write, Fill):
                part = tensor.detach() if write.where is None else write.where.of(tensor.detach())
                write_fill(part, write.initializer, drawn)
            else:
                with torch.no_grad():
                    tensor.copy_(_values(plan, write, tensor, drawn or 0))
    return report_of(plan)


def _values(plan: Plan, write: Load | Capture, tensor: Tensor, key: int) -> Tensor:
    """The values of a checkpoint, or those that were captured; they are known to be there."""
    if isinstance(write, Load):
        return write.entry(plan.files, shape_of(tensor)).read(key)
    assert write.values is not None
    return write.values


@contextmanager
def at_once(recorder: Any, model: nn.Module) -> Iterator[Callable[[Report], Report]]:
    """Within, a model is initialised as if no recorder was on, which may note nothing (`exact`).

    What is given is told the report, so that the recorder learns which tensors have new values.
    """

    def happened(report: Report) -> Report:
        for entry in report:
            if entry.name in plain and entry.kind not in ("unset", "kept"):
                recorder.capture(plain[entry.name], entry.info)
        return report

    with unseen():
        plain = {slot.name: slot.tensor for slot in Tree(model).slots if is_plain(slot.tensor)}
        for tensor in plain.values():
            recorder.record(tensor).save(tensor)
        yield happened
