"""A distribution and a dtype -> the numbers that a backend computes with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import torch

from initium.errors import InitRangeError
from initium.streams.distributions import Distribution, Normal, TruncNormal, Uniform
from initium.streams.dtypes import bounds_in

# The least probability whose quantile float32 gives (AS 241 to r = 5), and float64 (no underflow).
_LEAST_SINGLE, _LEAST_DOUBLE = 1.4e-11, 1e-307
# Bounds so close together, against the mean, would leave few values to float32's mean + std·z.
_COARSE = 2.0**-12
# So many sigmas from the mean, rounding mean + std·z is as coarse as what lies there is wide.
_FAR, _NEARER = 2.0**26, 2.0**12
# No normal value lies so many sigmas out (6.8 is the most in float32, 8.6 in float64), so bounds
# beyond cut nothing off.
_NEVER = 10


class Kind(IntEnum):
    """What is computed from the words of a stream."""

    NORMAL = 0
    UNIFORM = 1
    CENTRAL = 2
    TRUNCATED = 3
    TAIL = 4


@dataclass(frozen=True)
class Parameters:
    """What a backend must know to draw.

    Attributes:
        kind: which formula.
        double: whether it is computed in float64: for float64 tensors, and in far tails.
        keeps_double: whether the values stay float64.
        numbers: NORMAL: mean, std; UNIFORM: a, b - a, low, high; CENTRAL: mean, std, low, high,
            P(a <= z <= b), (P(z < a) - P(z > b))/2; TRUNCATED: the same, then P(z < a), P(z > b);
            TAIL: mean, std with the tail's sign, low, high, start, P(z > end | z > start),
            one less that.
            low and high are the outermost values of the dtype that are allowed.
    """

    kind: Kind
    double: bool
    keeps_double: bool
    numbers: tuple[float, ...]


@lru_cache(maxsize=4096)
def parameters(distribution: Distribution, dtype: torch.dtype) -> Parameters:
    """The numbers for drawing a tensor of `dtype`.

    Raises:
        InitRangeError: a RuntimeError; the dtype has no value within the bounds.

    >>> parameters(Uniform(-0.25, 0.5), torch.float32).numbers
    (-0.25, 0.75, -0.25, 0.49999997019767...)
    """
    wide = dtype == torch.float64
    if isinstance(distribution, Normal):
        return Parameters(Kind.NORMAL, wide, wide, (distribution.mean, distribution.std))
    if isinstance(distribution, Uniform):
        a, b = distribution.a, distribution.b
        if b - a > torch.finfo(dtype if wide else torch.float32).max:
            raise InitRangeError(f"the range from {a:g} to {b:g} is too wide for {dtype}")
        return Parameters(Kind.UNIFORM, wide, wide, (a, b - a, *bounds_in(dtype, a, b, a < b)))
    return _truncated(distribution, dtype, wide)


def _truncated(wanted: TruncNormal, dtype: torch.dtype, wide: bool) -> Parameters:
    if wanted.std == 0 or wanted.a == wanted.b:
        value = wanted.a if wanted.a == wanted.b else wanted.mean
        return parameters(Uniform(value, value), dtype)
    low, high = bounds_in(dtype, wanted.a, wanted.b)
    reach = min(wanted.mean - low, high - wanted.mean)
    if reach >= _NEVER * wanted.std:
        return parameters(Normal(wanted.mean, wanted.std), dtype)
    common = (wanted.mean, wanted.std, low, high)
    start, end = ((edge - wanted.mean) / wanted.std for edge in (wanted.a, wanted.b))
    if start >= _FAR or end <= -_FAR:
        return Parameters(Kind.TAIL, True, wide, _far(wanted, low, high))
    p_low, q_high, mass, offset = _probabilities(wanted)
    double = wide or wanted.b - wanted.a < _COARSE * abs(wanted.mean)
    double = double or not _is_single(wanted.mean, wanted.std, mass)
    if not double and start >= -2 and end <= 2:
        return Parameters(Kind.CENTRAL, False, False, (*common, mass, offset))
    side = min(p_low, q_high)
    if side + mass * 2.0**-53 >= _LEAST_DOUBLE:
        double = double or side + mass * 2.0**-33 < _LEAST_SINGLE
        numbers = (*common, mass, offset, p_low, q_high)
        return Parameters(Kind.TRUNCATED, double, wide, numbers)
    if start < 0:
        start, end, common = -end, -start, (wanted.mean, -wanted.std, low, high)
    return Parameters(Kind.TAIL, True, wide, (*common, start, *_beyond(start, end)))


def _is_single(mean: float, std: float, mass: float) -> bool:
    """Whether float32 has numbers of this size, with all their digits."""
    single = torch.finfo(torch.float32)
    return abs(mean) <= single.max and std <= single.max and min(std, mass) >= single.tiny


def _probabilities(wanted: TruncNormal) -> tuple[float, float, float, float]:
    """To the last bit, so that no platform's libm has a say."""
    import mpmath

    with mpmath.workdps(60):
        # beyond, there is nothing that float64 could tell from 0
        z_low, z_high = (
            min(max((mpmath.mpf(edge) - wanted.mean) / wanted.std, -_FAR), _FAR)
            for edge in (wanted.a, wanted.b)
        )
        p_low, q_high = mpmath.ncdf(z_low), mpmath.ncdf(-z_high)
        # in the tail where both are small, 1 - p - q would lose everything
        mass = mpmath.ncdf(z_high) - p_low if z_high < 0 else mpmath.ncdf(-z_low) - q_high
        return float(p_low), float(q_high), float(mass), float((p_low - q_high) / 2)


def _beyond(start: float, end: float) -> tuple[float, float]:
    """P(z > end | z > start), and the rest."""
    import mpmath

    with mpmath.workdps(60):
        rest = mpmath.ncdf(-mpmath.mpf(min(end, 2 * _FAR))) / mpmath.ncdf(-mpmath.mpf(start))
        return float(rest), float(1 - rest)


def _far(wanted: TruncNormal, low: float, high: float) -> tuple[float, ...]:
    """The tail as it is seen from nearer: so far out it is an exponential, from anywhere."""
    import mpmath

    sign, edge = (1, wanted.a) if wanted.mean < wanted.a else (-1, wanted.b)
    with mpmath.workdps(60):
        scale = mpmath.mpf(wanted.std) ** 2 / abs(mpmath.mpf(edge) - wanted.mean)
        rest = mpmath.exp((mpmath.mpf(wanted.a) - wanted.b) / scale)
        mean = float(edge - sign * scale * _NEARER**2)
    std = (edge - mean) / _NEARER  # so that mean + std·z meets the edge
    return mean, std, low, high, _NEARER, float(rest), float(1 - rest)
