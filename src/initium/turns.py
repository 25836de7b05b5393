"""Tensors with elements in common are written one after the other, so that the later one wins."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from initium.record import is_plain, overlap
from initium.todo import ToDo


def turns(todo: ToDo) -> list[ToDo]:
    """What may be written at the same time, in parts that follow each other.

    Nearly always that is all of it: tensors that lie side by side in one memory do not meet.
    """
    turn: dict[int, int] = {}  # of the places, in the list, of those that meet others
    for places in _meeting(todo):
        for n, i in enumerate(places):
            tensor = todo[i][0].tensor
            met = (j for j in places[:n] if overlap(todo[j][0].tensor, tensor))
            turn[i] = max((turn[j] + 1 for j in met), default=0)
    if not turn:
        return [todo]
    its = [turn.get(i, 0) for i in range(len(todo))]
    return [
        [item for item, n in zip(todo, its, strict=True) if n == t] for t in range(max(its) + 1)
    ]


def _meeting(todo: ToDo) -> Iterator[list[int]]:
    """The places, in the list, of tensors whose memory may have elements in common."""
    spans = []
    for i, (slot, _) in enumerate(todo):
        tensor = slot.tensor
        if not tensor.is_meta and is_plain(tensor) and tensor.numel():
            spans.append((*_span(tensor), i))
    together, reached = list[int](), 0
    for first, end, i in sorted(spans):
        if first >= reached:
            if len(together) > 1:
                yield sorted(together)
            together = []
        together.append(i)
        reached = max(reached, end)
    if len(together) > 1:
        yield sorted(together)


def _span(tensor: Tensor) -> tuple[int, int]:
    """The addresses of a tensor's first byte, and behind its last one."""
    first, width = tensor.data_ptr(), tensor.element_size()
    if tensor.is_contiguous():
        return first, first + tensor.numel() * width
    reach = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return first, first + (reach + 1) * width
