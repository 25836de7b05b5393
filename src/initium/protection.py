"""Tensors that rules and user code may not write to any more: loaded ones, and protected ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import nn

from initium.digest import digest_of
from initium.errors import InitError, InitNameError, did_you_mean, located
from initium.given import check_is, check_model
from initium.here import HERE, unseen
from initium.selectors import compile_pattern, matches
from initium.shard import memory_of
from initium.tree import Slot, Tree
from initium.writes import Load, Write, is_keep, surviving


@dataclass(frozen=True)
class Protected:
    """That a tensor was protected by hand.

    Attributes:
        source: who asked for it.
        digest: of its values at that time.
    """

    source: str
    digest: str


Guard = Protected | Load  # what was loaded is protected, but another checkpoint may replace it
# by the module that holds the tensor; kept outside of the modules: nothing of ours hangs on them
_PROTECTED: WeakKeyDictionary[nn.Module, dict[str, Guard]] = WeakKeyDictionary()
_NONE: dict[str, Guard] = {}


def protect(model: nn.Module, names: str | Iterable[str] = "**.*") -> list[str]:
    """Make it an error for a rule, or for recorded user code, to write to tensors of a model.

    What `Pretrained` has loaded is protected already. Training, and writes by hand, go on as they
    are; `verify` tells whether the values are still those of now.

    Args:
        model: whose tensors are protected.
        names: a pattern on dotted names, or several (see `initium.selectors`); left out: all.

    Returns:
        the names of the protected tensors.

    Raises:
        InitNameError: a RuntimeError; a pattern matches nothing.

    >>> import initium
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> protect(model, "0.*")
    ['0.weight', '0.bias']
    >>> initium.initialize(model, dict(type="Normal", layer="Linear"))
    Traceback (most recent call last):
    initium.errors.InitError: 0.weight: ... is protected ...
    """
    with unseen():
        slots = _named(model, names)
        for slot in slots:
            _set(slot, Protected(f"protect(), as {slot.name}", digest_of(memory_of(slot.tensor))))
    return [slot.name for slot in slots]


def unprotect(model: nn.Module, names: str | Iterable[str] = "**.*") -> list[str]:
    """Allow writes again; arguments, result and errors as in `protect`.

    User code calls it within `init_weights` before it writes to what a checkpoint has loaded.

    >>> model = nn.Linear(2, 2)
    >>> protect(model), unprotect(model, "bias")
    (['weight', 'bias'], ['bias'])
    """
    with unseen():
        slots = _named(model, names)
        for slot in slots:
            for place in slot.places():
                _PROTECTED.get(place.owner, {}).pop(place.local, None)
        if HERE.planner is not None:
            HERE.planner.release((id(slot.owner), slot.local) for slot in slots)
    return [slot.name for slot in slots]


def protect_loaded(slot: Slot, load: Load) -> None:
    """Protect what was just loaded."""
    # no digest, which would cost more than the loading: the values are in the file for comparison
    _set(slot, load)


def protection_of(slot: Slot) -> Guard | None:
    """Why a tensor is protected; None: it is not."""
    if not _PROTECTED:
        return None
    for place in slot.places():
        found = _PROTECTED.get(place.owner, _NONE).get(place.local)
        if found is not None:
            return found
    return None


def check_writes(slot: Slot, writes: Sequence[Write]) -> None:
    """Raise where writes would change what is protected, or what one of them has loaded.

    Raises:
        InitError: naming both sources.
    """
    guard, rule = protection_of(slot), ""
    if not writes or (guard is None and len(writes) == 1):
        return
    # another checkpoint may have the last word over what one has loaded
    reloaded = isinstance(surviving(writes)[-1], Load)
    for write in writes:
        if is_keep(write) or (rule and write.source.startswith(f"{rule}, override ")):
            continue  # a rule's own override is meant to beat it
        if guard is not None and not (isinstance(guard, Load) and reloaded):
            _refuse(slot, guard, write)
        if isinstance(write, Load) and write is not writes[-1]:
            guard, rule = write, write.source


def _refuse(slot: Slot, guard: Guard, write: Write) -> None:
    source = guard.source
    if isinstance(guard, Load):
        source = f"loaded by {guard.source} from {guard.checkpoint}: {guard.name}"
    with located(slot.name):
        raise InitError(
            f"it is protected ({source}), but {write.source} would write {write} to it; leave it "
            f"out there, or call initium.unprotect(model, {slot.name!r}) first"
        )


def _set(slot: Slot, guard: Guard) -> None:
    for place in slot.places():
        _PROTECTED.setdefault(place.owner, {})[place.local] = guard


def _named(model: nn.Module, names: str | Iterable[str]) -> list[Slot]:
    check_model(model)
    check_is("names", names, Iterable, "a pattern or a list of patterns")
    tree = Tree(model)
    found: dict[Slot, None] = {}
    for text in [names] if isinstance(names, str) else names:
        check_is("a pattern", text, str, "a str")
        pattern = compile_pattern(text)
        matched = [slot for slot in tree.slots if _matches(pattern, slot)]
        if not matched:
            raise InitNameError(
                f"{text!r} matches no tensor of {type(model).__name__}."
                f"{did_you_mean(text, (slot.path for slot in tree.slots))}"
            )
        found.update(dict.fromkeys(matched))
    return list(found)


def _matches(pattern: re.Pattern[str], slot: Slot) -> bool:
    return any(matches(pattern, name) for name in slot.names)
