"""What stands for the things that a pickle names: inert values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_MOST_PARTS = 32  # of a dict's key
_UNHASHABLE = (list, dict, set, bytearray, tuple, frozenset)  # the last two when they are large
_LARGE = 1 << 4096


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that a pickle names: `torch.float32`, `os.system`; only its name."""

    name: str


@dataclass(eq=False, slots=True)
class Opaque:
    """An object that is not made: what its class or maker is called, and what it would be given.

    Attributes:
        name: of the class or function, with its module.
        args: it would be called with.
        state: it would be given afterwards, mostly its `__dict__`.
        items: that would be appended to it, or (key, value) pairs that would be set.
    """

    name: str
    args: tuple[Any, ...] = field(default=(), repr=False)  # deep or circular, perhaps
    state: Any = field(default=None, repr=False)
    items: list[Any] = field(default_factory=list, repr=False)


def key_of(value: Any) -> Any:
    """The value as a key or member; one that cannot be hashed, or not quickly, goes into an Opaque."""
    return value if type(value) is str or _hashable(value) else Opaque("key", (value,))


def _hashable(value: Any) -> bool:
    # hash() of a tuple goes down its parts in C without an end, and twice where they come twice
    waiting, count = [value], 1
    while waiting:
        part = waiting.pop()
        if isinstance(part, (tuple, frozenset)) and count + len(part) <= _MOST_PARTS:
            waiting.extend(part)
            count += len(part)
        elif isinstance(part, _UNHASHABLE) or abs(part if isinstance(part, int) else 0) > _LARGE:
            return False
    return True
