"""Streams for values that are needed before their tensors have names: they are numbered."""

from __future__ import annotations

from initium.streams import Seed, keys_of
from initium.writes import Draw, Fill, Load, Write


class Numbering:
    """The streams `draw 1`, `draw 2`, … of a seed, in the order in which values are needed.

    >>> numbering = Numbering(7)
    >>> numbering.next_key() == keys_of(7)("draw 1"), numbering.next_key() == keys_of(7)("draw 2")
    (True, True)
    """

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self._key_of = keys_of(seed)
        self._draws = 0

    def next_key(self) -> int:
        """The key of a stream that is used at once."""
        return self._key_of(self._next())

    def name(self, write: Write) -> None:
        """Have a stream known by a number, unless it has a name."""
        stream = write.stream if isinstance(write, Fill) else None
        if isinstance(stream, Draw) and stream.name is None:
            stream.name, stream.seed = self._next(), self._seed

    def key(self, path: str, write: Fill | Load) -> int:
        """The key that a write is drawn with; `path` is what the model calls the tensor."""
        stream = write.stream.name if isinstance(write.stream, Draw) else write.stream
        return stream if isinstance(stream, int) else self._key_of(stream or path)

    def _next(self) -> str:
        self._draws += 1
        return f"draw {self._draws}"
