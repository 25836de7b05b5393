"""The elementary distributions: what every random initializer comes down to for one tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
        Univariate Distributions 1, 1994, section 13.10.1), evaluated by quadrature so that
        bounds far out in one tail lose no digits.
        """
        if self.std == 0 or self.a == self.b:
            return 0.0
        low, high = _clip((self.a - self.mean) / self.std), _clip((self.b - self.mean) / self.std)
        steps = 4096
        peak = min(max(0.0, low), high)
        total = first = second = 0.0
        for i in range(steps + 1):
            x = low + (high - low) * i / steps
            weight = math.exp((peak * peak - x * x) / 2) * (1 if 0 < i < steps else 0.5)
            total += weight
            first += weight * (x - peak)
            second += weight * (x - peak) ** 2
        return self.std * math.sqrt(max(0.0, second / total - (first / total) ** 2))


def _clip(sigmas: float) -> float:
    # beyond 40 standard deviations the density is 0 in double precision
    return max(-40.0, min(40.0, sigmas))


Distribution = Normal | Uniform | TruncNormal
