"""Which tensor of a model gets which tensor of a checkpoint; what is left over on both sides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from initium.checkpoint.adapters import Adapter
from initium.checkpoint.computed import Adapted
from initium.checkpoint.entry import Entry
from initium.checkpoint.hints import names_below
from initium.errors import InitError, located
from initium.selectors import matches
from initium.shard import shape_of
from initium.tree import Slot, is_lazy

# the number of batches that a norm has seen: files of before torch 0.4.1 do not have it
_COUNTER = "num_batches_tracked"
# what data parallel and averaged models put before the names of the model within
_BEFORE = "module."


@dataclass(frozen=True)
class Match:
    """The outcome of matching: nothing is read for it.

    Attributes:
        loads: (slot, name, entry, adapters) of what will be loaded.
        missing: slots without a tensor in the file.
        spared: slots that may be missing, and slots that an adapter drops.
        unused: names in the file without a tensor in the model.
        mismatched: slots whose tensors cannot be loaded, and why.
        idle: adapters that had nothing to do.
    """

    loads: list[tuple[Slot, str, Entry, tuple[Adapter, ...]]] = field(default_factory=list)
    missing: list[Slot] = field(default_factory=list)
    spared: list[Slot] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    mismatched: dict[Slot, str] = field(default_factory=dict)
    idle: list[Adapter] = field(default_factory=list)

    @property
    def fresh(self) -> list[Slot]:
        """What is not loaded."""
        return [*self.missing, *self.mismatched, *self.spared]


class Matcher:
    """Matches tensors of a model with those of a checkpoint, by name.

    Args:
        below: the path in the model that the names of the file are seen from.
        entries: the tensors of the file by name.
        adapters: that may make shapes fit.
        ignore: patterns on names of the model that may be missing in the file.
        ignore_unused: patterns on names of the file that the model may lack.
        stripped: what was taken off the beginning of every name of the file; a model may have it.
    """

    def __init__(
        self,
        below: str,
        entries: Mapping[str, Entry],
        adapters: Sequence[Adapter] = (),
        ignore: Sequence[re.Pattern[str]] = (),
        ignore_unused: Sequence[re.Pattern[str]] = (),
        stripped: str = "",
    ) -> None:
        self.below, self.entries, self.adapters = below, entries, adapters
        self.ignore, self.ignore_unused, self.stripped = ignore, ignore_unused, stripped
        self._within = {key for key in entries if key.startswith(_BEFORE)}
        self._used: set[str] = set()
        self._adapted: set[Adapter] = set()

    def match(self, slots: Iterable[Slot]) -> Match:
        """Match these slots.

        Raises:
            InitError: an adapter cannot do what it was told to.
        """
        result, slots = Match(), list(slots)
        if self._within:  # what the model has under such a name is no one else's
            self._within -= {name for slot in slots for name in names_below(slot, self.below)}
        for slot in slots:
            self._match(slot, result)
        result.unused.extend(
            name
            for name in self.entries
            if name not in self._used and not any(matches(p, name) for p in self.ignore_unused)
        )
        result.idle.extend(a for a in self.adapters if a not in self._adapted)
        return result

    def _match(self, slot: Slot, result: Match) -> None:
        names = names_below(slot, self.below)
        found = [name for name in names if name in self.entries]
        if not found and self.stripped:
            shorter = (name.removeprefix(self.stripped) for name in names)
            found = [name for name in shorter if name in self.entries]
        if not found and self._within:  # beside others, as of an averaged model
            longer = (f"{_BEFORE}{name}" for name in names)
            found = [name for name in longer if name in self._within]
        self._used.update(found)  # tied weights may be saved once or several times
        if found:
            self._load(slot, names, found[0], result)
        elif names and slot.persistent:
            spared = slot.local == _COUNTER or any(_any(p, names) for p in self.ignore)
            (result.spared if spared else result.missing).append(slot)

    def _load(self, slot: Slot, names: list[str], name: str, result: Match) -> None:
        adapters = [a for a in self.adapters if a.means(*names)] if self.adapters else []
        dropping = [a for a in adapters if a.drops]
        self._adapted.update(dropping)
        if is_lazy(slot.tensor):
            text = (
                "has no shape yet; call the model once before, so that its lazy modules know theirs"
            )
            result.mismatched[slot] = f"{slot.name} {text}"
            return
        if dropping:
            result.spared.append(slot)
            return
        entry, at_work = self.entries[name], tuple[Adapter, ...]()
        if adapters:
            with located(slot.name):
                entry, at_work = self._adapt(entry, shape_of(slot.tensor), adapters)
        problem = _problem(entry, slot)
        if problem:
            result.mismatched[slot] = problem
        else:
            entry.prepare()
            result.loads.append((slot, name, entry, at_work))

    def _adapt(
        self, entry: Entry, want: tuple[int, ...], adapters: list[Adapter]
    ) -> tuple[Entry, tuple[Adapter, ...]]:
        """The entry, adapted where an adapter has something to do."""
        if entry.problem() is not None:
            return entry, ()
        at_work, shape = [], entry.shape
        for adapter in adapters:
            with located(entry.text):
                made = adapter.shape(shape, want)
                if made != shape or adapter.always:
                    adapter.check_dtype(entry.dtype)
                    at_work.append(adapter)
            shape = made
        self._adapted.update(at_work)
        return (Adapted(entry, tuple(at_work), want) if at_work else entry), tuple(at_work)


def check_fits(entry: Entry, slot: Slot) -> None:
    """Look at everything about an entry that a slot shall get, before its values are read.

    Raises:
        InitError: the slot cannot get it, or it is damaged.
    """
    problem = _problem(entry, slot)
    if problem:
        raise InitError(problem)
    entry.prepare()


def _problem(entry: Entry, slot: Slot) -> str | None:
    """Why a slot cannot get an entry."""
    unreadable = entry.problem()
    if unreadable is not None:
        return f"{slot.name} cannot be loaded from {entry.text}: {unreadable}"
    shape, dtype = shape_of(slot.tensor), slot.tensor.dtype
    if entry.shape != shape:
        return f"{slot.name} has the shape {list(shape)}, {entry.text} has {list(entry.shape)}"
    if entry.dtype != dtype and (_kind(entry.dtype) != _kind(dtype) or entry.dtype.itemsize == 1):
        # 8 bits with a scale beside them, or a mix-up: a cast would be silent damage
        return f"{slot.name} has the dtype {dtype}, {entry.text} has {entry.dtype}"
    return None


def _kind(dtype: torch.dtype) -> str:
    if dtype.is_floating_point:
        return "float"
    return "complex" if dtype.is_complex else "bool" if dtype == torch.bool else "int"


def _any(pattern: re.Pattern[str], names: Iterable[str]) -> bool:
    return any(matches(pattern, name) for name in names)
