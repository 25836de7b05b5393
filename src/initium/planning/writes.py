"""What a plan is made of: writes, the line of a tensor, findings. All of it is data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from initium.checkpoint import Entry
from initium.initializers import Constant, Initializer


@dataclass(frozen=True)
class Fill:
    """A tensor gets the values of an initializer.

    Attributes:
        order: its place in the order of precedence; later wins.
        source: where it was declared.
        info: what the log says of a tensor that got it.
        initializer: how the values are drawn.
        zero_row: a row that stays zero (`padding_idx` of an embedding).
    """

    order: int
    source: str
    info: str
    initializer: Initializer
    zero_row: int | None = None

    def __str__(self) -> str:
        row = "" if self.zero_row is None else f", row {self.zero_row} zero"
        return f"{self.initializer}{row}"


@dataclass(frozen=True)
class Load:
    """A tensor gets the values of a key of a checkpoint."""

    order: int
    source: str
    info: str
    checkpoint: str
    key: str
    map_location: str = "cpu"
    entry: Entry | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"Pretrained({self.key})"


@dataclass(frozen=True)
class Call:
    """User code runs here; it may write any tensor below `module`.

    Attributes:
        module: the name of the module that it is called on.
        method: what is called on the module; empty: an initializer of the user is called with it.
        run: that initializer. A plan file cannot hold it.
    """

    order: int
    source: str
    info: str
    module: str
    method: str = "init_weights"
    run: Callable[[nn.Module], Any] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"user code: {self.source}"


Write = Fill | Load | Call


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
    """

    name: str
    path: str
    shape: tuple[int, ...]
    dtype: str
    aliases: tuple[str, ...] = ()
    writes: tuple[Write, ...] = ()

    @property
    def write(self) -> Fill | Load | None:
        """The declared write that is carried out.

        The last one wins. A constant that repeats the one before changes nothing, so the first
        keeps the credit, unless user code may have run in between.
        """
        winner: Fill | Load | None = None
        for write in self.writes:
            if not isinstance(write, Call) and not self._repeats(write, winner):
                winner = write
        return winner

    def _repeats(self, write: Fill | Load, winner: Fill | Load | None) -> bool:
        return (
            isinstance(write, Fill)
            and isinstance(winner, Fill)
            and isinstance(write.initializer, Constant)
            and write.initializer == winner.initializer
            and not any(winner.order < call.order < write.order for call in self.calls)
        )

    @property
    def calls(self) -> tuple[Call, ...]:
        """User code that may write this tensor."""
        return tuple(write for write in self.writes if isinstance(write, Call))

    @property
    def last(self) -> Write | None:
        """What has the last word: user code if it runs after the declared write."""
        after = [c for c in self.calls if self.write is None or c.order > self.write.order]
        return after[-1] if after else self.write

    @property
    def std(self) -> float | None:
        """The standard deviation that the values will have, where the plan knows it."""
        last = self.last
        return last.initializer.resulting_std(self.shape) if isinstance(last, Fill) else None

    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Finding:
    """Something that a reader of the plan should know.

    Attributes:
        kind: `unmatched`, `shadowed`, `unset`, `checkpoint` or `advice`.
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
