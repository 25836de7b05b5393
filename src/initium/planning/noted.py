"""The writes to the tensors of a model, noted in the order of precedence while a plan is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

import torch
from torch import nn

from initium.initializers import Keep
from initium.lines import Line
from initium.planning.history import remembered
from initium.shard import shape_of
from initium.tree import Slot, Tree, is_lazy, join
from initium.writes import USER_CODE, Fill, Write, surviving

Place = tuple[int, str]  # (id of the module, its attribute)


class Noted:
    """What was noted so far.

    Attributes:
        tree: the tensors of the model.
        writes: to each of them.
        released: where user code may write, whatever was loaded before.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.writes: dict[Slot, list[Write]] = {}
        self.released: set[Place] = set()
        self._order = 0
        self._set_within: dict[nn.Module, dict[Slot, list[Write]]] = {}
        self._credited: dict[Slot, int] = {}

    def keep(self, path: str, module: nn.Module) -> None:
        """Keep what a module's own `init_weights` has set earlier, in this plan or before it."""
        source = f"init_weights of {join(type(self.tree.root).__name__, path)}, called before"
        paths = {join(path, relative) for relative in remembered(module)}
        for slot in self.tree.below(module):
            if slot.path in paths:
                self.writes[slot].append(Fill(self.next_order(), source, "", Keep()))
        for slot, writes in self._set_within.get(module, {}).items():
            self.writes[slot] += [replace(w, order=self.next_order()) for w in writes]

    def included(self, module: nn.Module) -> None:
        """Note that a module's own `init_weights` is done, and what it has set."""
        slots = self.tree.below(module)
        self._set_within[module] = {s: surviving(self.writes[s]) for s in slots if self.writes[s]}

    def done(self) -> Iterator[tuple[nn.Module, list[str]]]:
        """The modules whose own `init_weights` is done, with the paths, seen from them, it set."""
        for module, found in self._set_within.items():
            path = self.tree.path_of(module)
            stem = f"{path}." if path else ""
            yield module, [slot.path.removeprefix(stem) for slot in found]

    def credit(self, module: nn.Module, info: str) -> None:
        """Credit what user code has written below a module since the last time to `info`."""
        for slot in self.tree.below(module):
            writes = self.writes[slot]
            left = surviving(writes)
            if left and left[0].by == USER_CODE and left[0].order > self._credited.get(slot, 0):
                writes[:] = [replace(w, info=info) if w in left else w for w in writes]
                self._credited[slot] = left[0].order

    def release(self, places: Iterable[Place]) -> None:
        """User code may write there, whatever was loaded before."""
        self.released.update(places)

    def next_order(self) -> int:
        """The place of the next write in the order of precedence."""
        self._order += 1
        return self._order


def line_of(slot: Slot, writes: list[Write]) -> Line:
    """What a plan says of a tensor."""
    tensor = slot.tensor
    return Line(
        name=slot.name,
        path=slot.path,
        shape=() if is_lazy(tensor) else shape_of(tensor),
        dtype=_name(tensor.dtype),
        aliases=tuple([alias.name for alias in slot.aliases]),
        writes=tuple(writes),
        persistent=slot.persistent,
    )


@cache
def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
