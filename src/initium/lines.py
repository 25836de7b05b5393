"""What a plan says of one tensor: its line; and what a reader should know besides: findings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from initium.streams import Whole
from initium.writes import Capture, Fill, Write, is_keep, surviving


@dataclass(frozen=True)
class Line:
    """What a plan says of one tensor.

    Attributes:
        name: as `named_parameters` writes it.
        path: the name without the segments of wrappers; the tensor's random stream depends on it.
        shape: of the tensor.
        dtype: of the tensor, without `torch.`.
        aliases: other names of the same tensor.
        writes: every write that mentions it, in the order of precedence.
        persistent: whether it is in the model's state dict; some buffers are not.
    """

    name: str
    path: str
    shape: tuple[int, ...]
    dtype: str
    aliases: tuple[str, ...] = ()
    writes: tuple[Write, ...] = ()
    persistent: bool = True

    def with_writes(self, writes: tuple[Write, ...]) -> Line:
        """The same tensor with other writes; `dataclasses.replace` takes three times as long."""
        shape, dtype, aliases = self.shape, self.dtype, self.aliases
        return Line(self.name, self.path, shape, dtype, aliases, writes, self.persistent)

    @cached_property
    def carried_out(self) -> list[Write]:
        """The writes that survive, in order: of the whole tensor first, then of parts of it."""
        return surviving(self.writes)

    @property
    def write(self) -> Write | None:
        """The write of the whole tensor that is carried out."""
        left = self.carried_out
        return left[0] if left and left[0].where is None else None

    @property
    def last(self) -> Write | None:
        """What has the last word: the surviving write, or the `Keep` that let it survive."""
        return self.writes[-1] if self.writes and is_keep(self.writes[-1]) else self.decisive

    @property
    def decisive(self) -> Write | None:
        """The write of the whole tensor that is carried out, else that of the first part."""
        return next(iter(self.carried_out), None)

    @property
    def std(self) -> float | None:
        """The standard deviation that the values will have, where the plan knows it."""
        write = self.write
        return write.initializer.resulting_std(self.shape) if isinstance(write, Fill) else None

    @property
    def what(self) -> str:
        """The writes that are carried out, in words: of the whole tensor, then of its parts."""
        kept = self.last if is_keep(self.last) and not is_keep(self.decisive) else None
        said = (f"{w.where} {w}" if w.where is not None else str(w) for w in self.carried_out)
        return (f"{kept}: " if kept else "") + ", ".join(said)

    @property
    def as_one(self) -> bool:
        """Whether its values are there only as one: a rank with a shard has them all for a moment."""
        return any(isinstance(w, Capture) or _draws_as_one(w, self.shape) for w in self.carried_out)

    @property
    def said(self) -> str:
        """All that decides about its values but the seed: as `what`, and what that leaves out."""
        digests = [w.digest for w in self.carried_out if isinstance(w, Capture)]
        own = f", drawn as {self.path}" if self.path != self.name else ""
        text = f"{self.what or 'nothing'}, {self.dtype}{list(self.shape)}{own}"
        return f"{text}, values {digests[0]}" if digests else text

    def __str__(self) -> str:
        return f"{self.name} {self.what}".rstrip()

    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


def _draws_as_one(write: Write, shape: tuple[int, ...]) -> bool:
    if not isinstance(write, Fill) or is_keep(write) or write.where is not None:
        return False
    return isinstance(write.initializer.draws(shape), Whole)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a reader of the plan should know.

    Attributes:
        kind: `unmatched`, `shadowed`, `unset`, `unwritten`, `lost`, `default`, `checkpoint` or
            `advice`.
        message: the sentence, with its place.
    """

    kind: str
    message: str

    @property
    def strict(self) -> bool:
        """Whether it is an error in strict mode."""
        return self.kind != "advice"

    @property
    def warned(self) -> bool:
        """Whether it is shown as a warning; a tensor that nobody set is in the log instead."""
        return self.kind != "unset"
