"""Which tensor of a model gets which key of a checkpoint; what is left over on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from initium.checkpoint.read import Entry
from initium.errors import InitAssertionError, did_you_mean, listing
from initium.tree import Slot


@dataclass(frozen=True)
class Match:
    """The outcome of matching: nothing is read for it.

    Attributes:
        loads: (slot, key in the file, entry) of what will be loaded.
        missing: names in the model without a key.
        unexpected: keys without a tensor in the model.
        mismatched: sentences on tensors whose shapes differ.
    """

    loads: list[tuple[Slot, str, Entry]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)


def match(
    slots: Iterable[Slot], below: str, entries: Mapping[str, Entry], prefix: str | None
) -> Match:
    """Match the tensors whose path lies below `below` with the keys that start with `prefix`.

    A key matches a tensor's path or name, or that of one of its aliases.

    Raises:
        InitAssertionError: an AssertionError; no key starts with the prefix.
    """
    stem = f"{prefix.rstrip('.')}." if prefix else ""
    wanted = {key.removeprefix(stem): key for key in entries if key.startswith(stem)}
    if not wanted:
        prefixes = {".".join(key.split(".")[:n]) + "." for key in entries for n in (1, 2)}
        raise InitAssertionError(
            f"no key of the checkpoint starts with the prefix {stem!r}."
            f"{did_you_mean(stem, prefixes)} Its keys start with: {listing(sorted(prefixes))}"
        )
    result = Match()
    used: set[str] = set()
    for slot in slots:
        _match_slot(slot, below, wanted, entries, result, used)
    result.unexpected.extend(key for short, key in wanted.items() if short not in used)
    return result


def _match_slot(
    slot: Slot,
    below: str,
    wanted: Mapping[str, str],
    entries: Mapping[str, Entry],
    result: Match,
    used: set[str],
) -> None:
    names = _names(slot, below)
    found = [name for name in names if name in wanted]
    used.update(found)  # tied weights may be saved once or several times
    if not found:
        persistent = slot.local not in slot.owner._non_persistent_buffers_set
        result.missing.extend([slot.name] if names and persistent else [])
        return
    key = wanted[found[0]]
    shape = tuple(slot.tensor.shape)
    if entries[key].shape == shape:
        result.loads.append((slot, key, entries[key]))
    else:
        result.mismatched.append(
            f"{slot.name} has the shape {list(shape)}, {key} in the file {list(entries[key].shape)}"
        )


def _names(slot: Slot, below: str) -> list[str]:
    """What a key for this tensor may be called, seen from the submodule at `below`."""
    stem = f"{below}." if below else ""
    names = [name for place in slot.places() for name in (place.path, place.name)]
    return list(dict.fromkeys(n.removeprefix(stem) for n in names if n.startswith(stem)))
