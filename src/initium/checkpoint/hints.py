"""Why names of a model and of a checkpoint may not meet, for messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from initium.tree import Slot


def names_below(slot: Slot, below: str) -> list[str]:
    """What this tensor may be called in the file, seen from the submodule at `below`."""
    if not below:
        return slot.names
    stem = f"{below}."
    return [name.removeprefix(stem) for name in slot.names if name.startswith(stem)]


def suggest(slots: Iterable[Slot], below: str, keys: Iterable[str]) -> str:
    """Which prefix= (of the keys) or to= (of the names) would match more; empty: none."""
    names = {name for slot in slots for name in names_below(slot, below)}
    keys = set(keys)
    prefixes = Counter(head for key in keys for head, tail in _cuts(key) if tail in names)
    targets = Counter(head for name in names for head, tail in _cuts(name) if tail in keys)
    best = max(
        [(n, f"prefix={head!r}") for head, n in prefixes.items()]
        + [(n, f"to={head!r}") for head, n in targets.items()],
        default=(0, ""),
    )
    if best[0] <= len(names & keys):
        return ""
    return f" With {best[1]} {best[0]} of {len(names)} names would match."


def hooked(slots: Iterable[Slot]) -> list[str]:
    """The classes of modules that change a state dict as torch loads it, which is not done here."""
    found: dict[str, None] = {}
    for slot in slots:
        owner = slot.owner
        own = type(owner)._load_from_state_dict
        if owner._load_state_dict_pre_hooks or not own.__module__.startswith("torch."):
            found[type(owner).__name__] = None
    return list(found)


def _cuts(name: str) -> Iterable[tuple[str, str]]:
    """(`a`, `b.c`), (`a.b`, `c`) of `a.b.c`."""
    segments = name.split(".")
    for i in range(1, len(segments)):
        yield ".".join(segments[:i]), ".".join(segments[i:])
