"""Whole tensors in place of shards, while user code says what it would write to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from initium.errors import InitError
from initium.shard import is_sharded, shape_of
from initium.tree import Slot, Tree
from initium.writes import Capture, Write, surviving


class StandIns:
    """Tensors on `meta` that user code sees instead of a model's DTensors.

    It may fill them, wholly or in part, as it would on one process: fans come from their shapes, and
    nothing is written yet. Values it cannot read: no rank has all of them.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[dict[str, Any], str, Tensor]] = []
        self._slots: set[Slot] = set()

    def take(self, tree: Tree) -> None:
        """Put one in every place of a sharded tensor."""
        for slot in tree.slots:
            if is_sharded(slot.tensor):
                self._slots.add(slot)
                self._put(slot)

    def check(self, writes: Mapping[Slot, list[Write]]) -> None:
        """Raise where user code has computed the values of one, instead of saying how to fill it."""
        for slot in self._slots:
            for write in surviving(writes.get(slot, ())):
                if isinstance(write, Capture):
                    raise InitError(
                        f"{slot.name}: {write.source} computes its values ({write.reason}), but it "
                        "is sharded, and no rank has them all; fill it with torch.nn.init or a "
                        "rule, or build the model on meta, shard it, and materialize it"
                    )

    def _put(self, slot: Slot) -> None:
        tensor = slot.tensor
        whole: Tensor = torch.empty(shape_of(tensor), dtype=tensor.dtype, device="meta")
        if isinstance(tensor, nn.Parameter):
            whole = nn.Parameter(whole, requires_grad=tensor.requires_grad)
        for place in slot.places():
            holder: dict[str, Any] = place.owner._parameters
            if place.is_buffer:
                holder = place.owner._buffers
            self._kept.append((holder, place.local, tensor))
            holder[place.local] = whole

    def leave(self) -> None:
        """Put the tensors back."""
        for holder, local, tensor in self._kept:
            holder[local] = tensor
        self._kept.clear()
