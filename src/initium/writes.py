"""What a plan is made of: writes, the line of a tensor, findings. All of it is data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from initium.checkpoint import Adapter, Entry, Files, Recipe
from initium.initializers import Constant, Initializer, Keep

# who wrote: the model's constructor, a declared rule, or user code within `init_weights`
CONSTRUCTOR, RULE, USER_CODE = "constructor", "rule", "user code"


@dataclass(eq=False, slots=True)
class Draw:
    """One drawing of a random stream, which has no name yet.

    It gets the name of the first tensor of the model that holds its values; or a number, where its
    values are asked for before the tensors of the model are known.
    """

    name: str | None = None
    seed: Any = None


@dataclass(frozen=True, slots=True)
class Where:
    """A part of a tensor: for each dimension (first, end, step), or None for all of it.

    >>> str(Where(((0, 1, 1),))), str(Where((None, (2, 6, 2))))
    ('[0]', '[:, 2:6:2]')
    """

    slices: tuple[tuple[int, int, int] | None, ...]

    def of(self, tensor: Tensor) -> Tensor:
        """The part of this tensor, as a view."""
        return tensor[tuple(slice(None) if s is None else slice(*s) for s in self.slices)]

    def __str__(self) -> str:
        return f"[{', '.join(map(_slice_text, self.slices))}]"


def _slice_text(part: tuple[int, int, int] | None) -> str:
    if part is None:
        return ":"
    first, end, step = part
    return str(first) if end - first == 1 else f"{first}:{end}" + (f":{step}" if step > 1 else "")


@dataclass(frozen=True, slots=True)
class Fill:
    """A tensor, or a part of it, gets the values of an initializer.

    Attributes:
        order: its place in the order of precedence; later wins.
        source: where it was declared, or the line of code that did it.
        info: what the log says of a tensor that got it.
        initializer: how the values are drawn.
        where: the part of the tensor; None: all of it.
        stream: whose random stream is drawn: None: the tensor's own; another name, where code has
            copied one tensor to another; or an explicit key.
        by: `constructor`, `rule` or `user code`.
    """

    order: int
    source: str
    info: str
    initializer: Initializer
    where: Any = None  # a Where; while it is recorded, a Geometry
    stream: str | int | Draw | None = None
    by: str = RULE

    def __str__(self) -> str:
        stream = ""
        if self.initializer.random and isinstance(self.stream, str):
            stream = f" as {self.stream}"
        elif self.initializer.random and isinstance(self.stream, int):
            stream = f" with key {self.stream:#018x}"
        return f"{self.initializer}{stream}"


@dataclass(frozen=True, slots=True)
class Load:
    """A tensor gets the values of a tensor of a checkpoint.

    Attributes:
        recipe: which checkpoint, and how its tensors get their names.
        name: of the tensor, as the recipe names it.
        origin: where it lies, and what is done to it: `vit.safetensors: backbone.pos_embed`.
        adapters: that make its shape fit.
        stream: where an adapter draws, whose random stream: None: the tensor's own; another name,
            where the plan is that of a part of the model.
    """

    order: int
    source: str
    info: str
    recipe: Recipe
    name: str
    origin: str
    adapters: tuple[Adapter, ...] = ()
    by: str = RULE
    stream: str | None = None

    def entry(self, files: Files, shape: tuple[int, ...]) -> Entry:
        """The tensor of the checkpoint, as one of this shape.

        Raises:
            InitError: the checkpoint cannot be read, or has no such tensor.
        """
        return files.entry(self.recipe, self.name, self.adapters, shape)

    @property
    def random(self) -> bool:
        """Whether an adapter draws."""
        return any(adapter.random for adapter in self.adapters)

    @property
    def checkpoint(self) -> str:
        """The path or URL."""
        return self.recipe.checkpoint

    @property
    def where(self) -> None:
        """All of the tensor."""
        return None

    def __str__(self) -> str:
        stream = f" as {self.stream}" if self.random and self.stream else ""
        return f"Pretrained({self.origin}){stream}"


@dataclass(frozen=True, slots=True)
class Capture:
    """A tensor gets the very values that code has computed for it.

    Attributes:
        reason: the operation that made them no fill: `arange`, `numpy`, …
        digest: SHA-256 of their dtype, shape and bytes, the first 32 digits.
        values: the values; a plan that is read from a file finds them beside it.
    """

    order: int
    source: str
    info: str
    reason: str
    digest: str = ""
    by: str = CONSTRUCTOR
    values: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def where(self) -> None:
        """All of the tensor."""
        return None

    def __str__(self) -> str:
        return f"captured({self.reason})"


Write = Fill | Load | Capture


def surviving(writes: Iterable[Write]) -> list[Write]:
    """The writes that are carried out: the last one of the whole tensor, then those of its parts.

    The last one wins. A declared constant that repeats the one before changes nothing, so the first
    keeps the credit. `Keep` undoes what was declared before it, not what the constructor wrote.
    """
    writes = list(writes)
    if len(writes) == 1 or (writes and _has_the_last_word(writes[-1])):
        return writes[-1:]
    left: list[Write] = []
    constructed: list[Write] = []
    for write in writes:
        if is_keep(write):
            left = list(constructed) or [write]
        elif write.where is not None:
            left = [w for w in left if w.where != write.where] + [write]
        elif not _repeats(write, left):
            left = [write]
        if write.by == CONSTRUCTOR:
            constructed = list(left)
    return left


def is_keep(write: Write | None) -> bool:
    """Whether a write says that the tensor is left as it is."""
    return isinstance(write, Fill) and isinstance(write.initializer, Keep)


def _has_the_last_word(write: Write) -> bool:
    """Whether nothing of what was before a write can survive it."""
    said = isinstance(write, Fill) and isinstance(write.initializer, (Constant, Keep))
    return write.where is None and not said


def _repeats(write: Write, left: list[Write]) -> bool:
    before = left[0] if len(left) == 1 else None
    return (
        isinstance(write, Fill)
        and isinstance(before, Fill)
        and before.where is None
        and before.by != CONSTRUCTOR
        and isinstance(write.initializer, Constant)
        and write.initializer == before.initializer
    )
