"""The elementary distributions: what every random initializer comes down to for one tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Normal:
    """N(mean, std²).

    >>> Normal(0.0, 2.0).std_of_values()
    2.0
    """

    mean: float
    std: float

    def std_of_values(self) -> float:
        """The standard deviation of the values."""
        return self.std


@dataclass(frozen=True)
class Uniform:
    """U[a, b): b is never drawn, unless a == b.

    >>> round(Uniform(0.0, 12.0).std_of_values(), 4)
    3.4641
    """

    a: float
    b: float

    def std_of_values(self) -> float:
        """The standard deviation of the values, (b - a) / sqrt(12)."""
        return (self.b - self.a) / math.sqrt(12)


@dataclass(frozen=True)
class TruncNormal:
    """N(mean, std²) given that a <= value <= b, all in absolute units.

    >>> round(TruncNormal(0.0, 1.0, -2.0, 2.0).std_of_values(), 4)
    0.8796
    """

    mean: float
    std: float
    a: float
    b: float

    def std_of_values(self) -> float:
        """The standard deviation of the values: smaller than `std`, which is that of the uncut.

        By the moments of the doubly truncated normal (Johnson, Kotz and Balakrishnan, Continuous
        Univariate Distributions 1, 1994, section 13.10.1), with digits to spare: bounds far out in
        one tail cancel most of them.
        """
        if self.std == 0 or self.a == self.b:
            return 0.0
        low, high = (self.a - self.mean) / self.std, (self.b - self.mean) / self.std
        return self.std * _std_between(low, high)


@lru_cache(maxsize=4096)
def _std_between(low: float, high: float) -> float:
    import mpmath

    with mpmath.workdps(100):
        if low > 0:  # the lower tail keeps its digits
            low, high = -high, -low
        edges = [mpmath.mpf(low), mpmath.mpf(high)]
        mass = mpmath.ncdf(edges[1]) - mpmath.ncdf(edges[0])
        at_low, at_high = (mpmath.npdf(edge) / mass for edge in edges)
        # an infinite bound contributes nothing
        moments = [
            edge * density if mpmath.isfinite(edge) else 0
            for edge, density in zip(edges, (at_low, at_high), strict=True)
        ]
        return float(mpmath.sqrt(1 + moments[0] - moments[1] - (at_low - at_high) ** 2))


Distribution = Normal | Uniform | TruncNormal
