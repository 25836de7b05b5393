"""What a rank's parts of all tensors come to, and what a reader should know of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import torch

from initium.errors import listing
from initium.planning import Plan
from initium.simulation.counting import KINDS, Share, placements_of, temporary, whole_step
from initium.simulation.result import Part


def counted(shares: Sequence[Share], speed: float) -> dict[str, Any]:
    """What the rank has and does, as fields of a `Simulation`.

    Args:
        shares: of the rank.
        speed: values that it draws a second.
    """
    steps = [step for share in shares if (step := whole_step(share)) is not None]
    named = [(temporary(s, torch.get_num_threads()), s.slot.name) for s in shares]
    own = [s for s in shares if not s.slot.is_buffer]
    values = sum(_values(share) for share in shares if share.kind == "drawn")
    return {
        "tensors": len(shares),
        "elements": sum(prod(s.spread.shape) for s in shares),
        "bytes": sum(prod(s.spread.shape) * s.itemsize for s in shares),
        "parameters": sum(s.elements for s in own),
        "parameter_bytes": sum(s.bytes for s in own),
        "buffer_bytes": sum(s.bytes for s in shares if s.slot.is_buffer),
        "kinds": {kind: sum(s.bytes for s in shares if s.kind == kind) for kind in KINDS},
        "speed": float(speed),
        "seconds": values / speed,
        "temporary": max(named, key=lambda pair: pair[0], default=(0, "")),
        "whole": tuple(steps),
        "largest": _largest(shares),
    }


def _values(share: Share) -> int:
    """How many values a rank draws for its part of a tensor."""
    return share.elements if whole_step(share) is None else prod(share.spread.shape)


def _largest(shares: Sequence[Share]) -> Part | None:
    if not shares:
        return None
    s = max(shares, key=lambda share: share.bytes)
    return Part(s.slot.name, s.spread.shape, s.shape, placements_of(s.slot), s.bytes)


def notes(shares: Sequence[Share], apart: Sequence[str], plan: Plan) -> Iterator[str]:
    """What a reader of the numbers should know.

    Args:
        shares: of the rank.
        apart: names of tensors whose ranks could not be counted.
        plan: of the model.
    """
    empty = [s.slot.name for s in shares if s.line.elements() and not s.spread.counts().all()]
    if empty:
        yield (
            f"some ranks hold nothing of {len(empty)} tensors, which have fewer indices than ranks "
            f"along the dimension that is cut: {listing(empty, 3)}"
        )
    if apart:
        yield (
            f"{len(apart)} tensors are on a mesh of their own, and were counted as if every rank "
            f"had as much of them as this one: {listing(apart, 3)}"
        )
    unknown = [s.slot.name for s in shares if s.slot.name not in plan.lines]
    if unknown:
        yield f"the plan says nothing of {len(unknown)} tensors: {listing(unknown, 3)}"
    yield from (finding.message for finding in plan.findings if finding.warned)
