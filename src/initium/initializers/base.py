"""What an initializer is: how the values of one tensor are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from initium.errors import (
    InitAssertionError,
    InitKeyError,
    did_you_mean,
)
from initium.initializers.numbers import number as number
from initium.initializers.numbers import plain
from initium.streams import Distribution, Whole

Shape = Sequence[int]
# what a tensor gets: independent values, values that need the whole tensor, a constant, or nothing
Drawn = Distribution | Whole | float | None
INITIALIZERS: dict[str, type[Initializer]] = {}


@dataclass(frozen=True)
class Initializer:
    """How the values of one tensor are drawn: a frozen, validated, printable value.

    A subclass is a frozen dataclass whose fields are its arguments, of which this makes Python's own
    numbers. It says which elementary distribution its formula gives for a shape; `initium.apply`
    draws.

    Attributes:
        formula: the formula, for `Plan.explain` and the documentation.
        reference: the paper or source it was taken from.
        random: whether the values come from a random stream.
    """

    formula: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    random: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        # a saved plan names its initializers: this is how they are found again
        INITIALIZERS[cls.__name__] = cls

    def __post_init__(self) -> None:
        for each in fields(self):
            given = getattr(self, each.name)
            value = plain(given)
            if value is not given:
                object.__setattr__(self, each.name, value)

    def draws(self, shape: Shape) -> Drawn:
        """What a tensor of this (global) shape gets.

        Raises:
            InitError: the formula has no value for this shape.
        """
        raise NotImplementedError(f"{type(self).__name__} must define draws(shape)")

    def resulting_std(self, shape: Shape) -> float | None:
        """The standard deviation of the values drawn for this shape; None where none are."""
        drawn = self.draws(shape)
        if drawn is None:
            return None
        return 0.0 if isinstance(drawn, (int, float)) else drawn.std_of_values()

    def advice(self) -> str | None:
        """What a careful reader would ask about these arguments, or None."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """The initializer as data: its type and every argument."""
        return {
            "type": type(self).__name__,
            **{f.name: getattr(self, f.name) for f in fields(self)},
        }

    def __str__(self) -> str:
        # every argument is written out: the plan says what a default was when it was made
        arguments = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))
        return f"{type(self).__name__}({', '.join(arguments)})"


def initializer_from_dict(data: dict[str, Any]) -> Initializer:
    """The initializer that `Initializer.to_dict` described."""
    arguments = dict(data)
    kind = arguments.pop("type", None)
    if kind not in INITIALIZERS:
        raise InitKeyError(
            f"{kind!r} is no initializer.{did_you_mean(str(kind), INITIALIZERS)} "
            f"There are: {', '.join(sorted(INITIALIZERS))}"
        )
    return INITIALIZERS[kind](**arguments)


def one_of(name: str, value: object, *allowed: str) -> None:
    """Raise unless `value` is one of `allowed`."""
    if value not in allowed:
        raise InitAssertionError(
            f"{name} must be {' or '.join(map(repr, allowed))}, but got {value!r}"
        )
