"""Initializers whose distribution does not depend on the tensor's shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from initium import streams
from initium.errors import InitError, InitRangeError, InitTypeError
from initium.initializers.base import Initializer, Shape, number, one_of
from initium.initializers.numbers import is_finite

# beyond six standard deviations on both sides one value in 5e8 would be cut off
WIDE = 6


@dataclass(frozen=True)
class Constant(Initializer):
    """Every element is `val` (infinities and NaN are constants, too).

    >>> Constant(0.5).resulting_std([3, 4])
    0.0
    """

    val: float
    formula: ClassVar[str] = "w = val"
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.val, (int, float)):
            raise InitTypeError(f"val must be a number, but got {self.val!r}")
        if isinstance(self.val, int) and not is_finite(self.val):
            raise InitRangeError(f"val must be within the range of a float, but got {self.val!r}")

    def draws(self, shape: Shape) -> float:
        """The constant, whatever the shape."""
        return self.val


@dataclass(frozen=True)
class Keep(Initializer):
    """Leave the tensor as it is, and say so: the named way out of a strict plan.

    >>> Keep().draws([3, 4]) is None
    True
    """

    formula: ClassVar[str] = "w stays as it is"
    random: ClassVar[bool] = False

    def draws(self, shape: Shape) -> None:
        """Nothing is written."""


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal values of the given mean and standard deviation.

    >>> Normal(std=0.02).resulting_std([10])
    0.02
    """

    mean: float = 0
    std: float = 1
    formula: ClassVar[str] = "w ~ N(mean, std²)"

    def __post_init__(self) -> None:
        super().__post_init__()
        number("mean", self.mean)
        number("std", self.std, least=0)

    def draws(self, shape: Shape) -> streams.Normal:
        """N(mean, std²), whatever the shape."""
        return streams.Normal(self.mean, self.std)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform values in [a, b).

    >>> round(Uniform(-1, 1).resulting_std([10]), 4)
    0.5774
    """

    a: float = 0
    b: float = 1
    formula: ClassVar[str] = "w ~ U[a, b)"

    def __post_init__(self) -> None:
        super().__post_init__()
        _interval(self.a, self.b)

    def draws(self, shape: Shape) -> streams.Uniform:
        """U[a, b), whatever the shape."""
        return streams.Uniform(self.a, self.b)


@dataclass(frozen=True)
class TruncNormal(Initializer):
    """Normal values cut off at a and b: drawn from N(mean, std²) given that a <= w <= b.

    Args:
        mean: of the normal distribution before it is cut.
        std: of the normal distribution before it is cut; the values' own is smaller.
        a: the lower bound; -inf: none.
        b: the upper bound; inf: none.
        units: `'absolute'`: a and b are values of the tensor, as in torch and MMEngine;
            `'sigma'`: they count standard deviations from the mean, as in JAX and TensorFlow.

    >>> round(TruncNormal(std=0.02, a=-2, b=2, units="sigma").resulting_std([10]), 5)
    0.01759
    """

    mean: float = 0
    std: float = 1
    a: float = -2
    b: float = 2
    units: str = "absolute"
    formula: ClassVar[str] = "w ~ N(mean, std²) given a <= w <= b"

    def __post_init__(self) -> None:
        super().__post_init__()
        number("mean", self.mean)
        number("std", self.std, least=0)
        _interval(self.a, self.b, infinite=True)
        one_of("units", self.units, "absolute", "sigma")
        low, high = self.bounds()
        if self.std == 0 and not low <= self.mean <= high:
            raise InitError(
                f"with std=0 every value is the mean {self.mean}, which lies outside "
                f"[{low}, {high}]: move a and b, or use Constant"
            )

    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value, in the tensor's own units."""
        if self.units == "absolute":
            return self.a, self.b
        return self.mean + self.a * self.std, self.mean + self.b * self.std

    def draws(self, shape: Shape) -> streams.TruncNormal:
        """The cut normal distribution with its bounds in absolute units, whatever the shape."""
        return streams.TruncNormal(self.mean, self.std, *self.bounds())

    def advice(self) -> str | None:
        """A note where the bounds are so wide that nothing will be cut off."""
        low, high = self.bounds()
        reach = min(self.mean - low, high - self.mean)
        if self.std == 0 or reach < WIDE * self.std:
            return None
        return (
            f"TruncNormal(std={self.std}, a={self.a}, b={self.b}) truncates nothing: its bounds "
            f"are {reach / self.std:.0f} standard deviations away. Say units='sigma' to count "
            "them in standard deviations, or use Normal"
        )


def _interval(a: float, b: float, infinite: bool = False) -> None:
    number("a", a, infinite=infinite)
    number("b", b, infinite=infinite)
    if a > b:
        raise InitRangeError(f"a must not be above b, but got a={a}, b={b}")
