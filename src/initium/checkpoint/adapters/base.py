"""What an adapter is: a way to make a saved tensor fit a tensor of another shape."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from initium.errors import InitError, InitTypeError, listing
from initium.registry import Registry
from initium.selectors import compile_pattern, matches

Shape = tuple[int, ...]
CHECKPOINT_ADAPTERS = Registry("checkpoint adapter")
_compiled = lru_cache(maxsize=4096)(compile_pattern)


@dataclass(frozen=True, kw_only=True)
class Adapter(ABC):
    """Makes a saved tensor fit a tensor of another shape; a frozen, validated, printable value.

    A subclass is a frozen dataclass, registered in `CHECKPOINT_ADAPTERS`, whose fields are its
    arguments. It changes only its own dimensions, so that two may follow each other.

    Args:
        name: a pattern on the names of tensors of the model, or a list of them (see
            `initium.selectors`).

    Attributes:
        random: whether it draws values.
        computes: whether it needs values that can be computed with; what only picks them does not.

    Raises:
        InitTypeError: a TypeError; `name` is no str or list of them.
        InitError: `name` is no pattern.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, kw_only=True)
    ... class FirstRows(Adapter):
    ...     def shape(self, have, want):
    ...         return (want[0], *have[1:])
    ...     def adapt(self, tensor, want, key):
    ...         return tensor[: want[0]]
    >>> first = FirstRows(name="head.*")
    >>> first.means("head.weight"), first.shape((10, 4), (3, 4)), first.describe()
    (True, (3, 4), 'FirstRows()')
    """

    name: str | tuple[str, ...]
    random: ClassVar[bool] = False
    computes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        names = [self.name] if isinstance(self.name, str) else self.name
        listed = isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names)
        if not listed or not names:
            raise InitTypeError(f"name must be a pattern or a list of them, but got {self.name!r}")
        for pattern in names:
            _compiled(pattern)
        if not isinstance(self.name, str):
            object.__setattr__(self, "name", tuple(names))

    def means(self, *names: str) -> bool:
        """Whether a tensor that bears these names is meant: one of its names matches a pattern."""
        patterns = (self.name,) if isinstance(self.name, str) else self.name
        return any(matches(_compiled(p), name) for p in patterns for name in names)

    @property
    def drops(self) -> bool:
        """Whether the saved tensor is not loaded at all: the tensor keeps its own rule."""
        return False

    @property
    def always(self) -> bool:
        """Whether it has something to do even where the shapes are equal."""
        return False

    @abstractmethod
    def shape(self, have: Shape, want: Shape) -> Shape:
        """The shape that it makes of `have` on the way to `want`; `have` where it has nothing to do.

        Raises:
            InitError: it cannot.
        """

    @abstractmethod
    def adapt(self, tensor: Tensor, want: Shape, key: int) -> Tensor:
        """The tensor in the shape that `shape` says, in its own dtype; it is not written to.

        Args:
            tensor: on the CPU.
            want: the shape of the model's tensor.
            key: of a random stream (see `initium.streams`).

        Raises:
            InitError: it cannot, or not with values of this dtype.
        """

    def check_dtype(self, dtype: torch.dtype) -> None:
        """Raise an `InitError` where it cannot compute with values of this dtype."""
        if self.computes and not dtype.is_floating_point:
            raise self.error(
                f"it computes with real floating-point numbers, but the tensor is saved as {dtype}; "
                "let its name= mean only tensors of such numbers"
            )

    def describe(self) -> str:
        """The class and its arguments, but for `name` and those that are None, for the log."""
        said = [f"{name}={_short(value)}" for name, value in self._arguments() if value is not None]
        return f"{type(self).__name__}({', '.join(said)})"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": …, "name": …, arguments}`: JSON data, of which the registry builds an equal one.

        Raises:
            InitError: the class is not registered in `CHECKPOINT_ADAPTERS`.
        """
        data = {"type": _registered_as(type(self)), "name": self.name, **dict(self._arguments())}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in data.items()}

    def error(self, problem: str) -> InitError:
        """The error that this adapter raises: what it is, and the problem."""
        return InitError(f"{self.describe()}: {problem}")

    def check_layout(self, have: Shape, want: Shape, fits: bool, layout: str) -> None:
        """Raise an `InitError` unless both shapes have as many dimensions, and `have` fits."""
        if not fits or len(have) != len(want):
            raise self.error(
                f"it makes a tensor {layout} of another such tensor, but the saved one is "
                f"{list(have)} and the model's {list(want)}; let its name= mean only such tensors"
            )

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        yield from ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "name")


class ComputingAdapter(Adapter):
    """An adapter that computes the new values, where there is something to do."""

    def adapt(self, tensor: Tensor, want: Shape, key: int) -> Tensor:
        """The tensor in the shape that `shape` says; itself where that is its own.

        Raises:
            InitError: as `shape`, and where the values are no floating-point numbers.
        """
        have = tuple(tensor.shape)
        shape = self.shape(have, want)
        if shape == have:
            return tensor
        self.check_dtype(tensor.dtype)
        return self.compute(tensor.detach(), shape, key).to(tensor.dtype)

    @abstractmethod
    def compute(self, tensor: Tensor, shape: Shape, key: int) -> Tensor:
        """The values in `shape`, in any floating-point dtype."""


def _short(value: Any, most: int = 6) -> str:
    """As in code; of a long list, its beginning."""
    if isinstance(value, (tuple, list)) and len(value) > most:
        return f"({listing(map(repr, value), most)})"
    return repr(value)


def _registered_as(cls: type) -> str:
    for name, registered in CHECKPOINT_ADAPTERS.module_dict.items():
        if registered is cls:
            return name
    raise InitError(
        f"{cls.__name__} is not in the {CHECKPOINT_ADAPTERS.name} registry, so that it cannot be "
        "saved; put @CHECKPOINT_ADAPTERS.register_module() above the class"
    )
