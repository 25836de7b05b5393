"""The specification of the streams, in plain NumPy: slow and obvious.

A tensor's stream is known by its key, 64 bits. Element i of the tensor, counted in row-major order
of its global shape, depends on the key and on i alone. Every backend gives these bits.

Arithmetic is IEEE, in the order written here: no fused multiply-add, no libm. What is drawn in
float32 is rounded to the tensor's dtype; float64 tensors have a 53-bit variant of their own.

The words are in `bits.py`, the elementary functions in `curves.py`; here they become distributions.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np

from initium.streams import coefficients as c
from initium.streams.bits import F, Floats, Index, open_unit
from initium.streams.bits import integers as integers
from initium.streams.bits import permutation as permutation
from initium.streams.bits import philox as philox
from initium.streams.bits import rounds as rounds
from initium.streams.bits import unit as unit
from initium.streams.bits import wide as wide
from initium.streams.bits import words as words
from initium.streams.curves import middle_quantile, minus_2_log, quantile, sine_cosine
from initium.streams.parameters import Kind, Parameters


def draw(key: int, index: Index, parameters: Parameters) -> Floats:
    """The values of the elements at `index`, in float32 or float64, before the dtype's rounding."""
    real = np.float64 if parameters.double else F
    numbers = [real(number) for number in parameters.numbers]
    if parameters.kind is Kind.NORMAL:
        mean, std = numbers
        return _round(mean + _normal(key, index, std), parameters)
    if parameters.kind is Kind.UNIFORM:
        a, width, low, high = numbers
        return np.clip(a + width * unit(key, index, real), low, high)
    mean, std, low, high, *cut = numbers
    quantile_of: dict[Kind, Any] = {
        Kind.CENTRAL: _central,
        Kind.TRUNCATED: _truncated,
        Kind.TAIL: _tail,
    }
    value = mean + std * quantile_of[parameters.kind](_sides(key, index, real), *cut)
    return _round(np.clip(value, low, high), parameters)


def _round(values: Floats, parameters: Parameters) -> Floats:
    return values if parameters.keeps_double else values.astype(F)


def _normal(key: int, index: Index, std: Any) -> Floats:
    """Box–Muller on a pair of words: std·sqrt(-2 log u)·(cos, sin); the even element gets the first."""
    even = index - index % 2
    if type(std) is F:
        length = words(key, even).astype(F) * F(2.0**-32) + F(2.0**-33)
        angle: Any = words(key, even + 1).view(np.int32)
        # the highest bit is a sign, the next one exchanges the two, 30 are an angle within ±pi/4
        x = ((angle << np.int32(2)) >> np.int32(2)).astype(F) * F(c.HALF_PI * 2.0**-30)
        exchanged = (angle << np.int32(1)) < 0
    else:
        length = open_unit(wide(key, even))
        angle = wide(key, even + 1).view(np.int64)
        # the same, with the lowest 52 bits for the angle
        x = ((angle & np.int64(2**52 - 1)) - 2**51).astype(np.float64) * (c.HALF_PI * 2.0**-52)
        exchanged = (angle << np.int64(1)) < 0
    sine, cosine = sine_cosine(x)
    cosine = np.where(angle < 0, -cosine, cosine)
    first = exchanged == (index % 2 == 0)
    return cast(Floats, std * np.sqrt(minus_2_log(length)) * np.where(first, sine, cosine))


class _Sides(NamedTuple):
    """A uniform number u in (0, 1), as u, 1 - u and u - (1 - u), each accurate where it is small."""

    u: Floats
    v: Floats
    d: Floats


def _sides(key: int, index: Index, real: Any) -> _Sides:
    if real is np.float64:
        u = open_unit(wide(key, index))
        return _Sides(u, 1.0 - u, u - (1.0 - u))
    signed: Any = words(key, index).view(np.int32)
    small = np.where(signed < 0, ~signed, signed).astype(F) * F(2.0**-32) + F(2.0**-33)
    large = F(1) - small
    d = (signed ^ np.int32(-(2**31))).astype(F) * F(2.0**-31) + F(2.0**-32)
    upper = signed < 0
    return _Sides(np.where(upper, large, small), np.where(upper, small, large), d)


def _truncated(sides: _Sides, mass: Any, offset: Any, p_low: Any, q_high: Any) -> Floats:
    """The standard normal quantile of p = p_low + mass·u, with q = 1 - p and x = p - 1/2."""
    real = sides.d.dtype.type
    p, q = p_low + mass * sides.u, q_high + mass * sides.v
    x = offset + (real(0.5) * mass) * sides.d
    r = np.sqrt(real(0.5) * minus_2_log(np.minimum(p, q)))
    return quantile(x, r)


def _central(sides: _Sides, mass: Any, offset: Any) -> Floats:
    """The same with less work, for bounds within two sigma; in float32 only."""
    return middle_quantile(offset + (F(0.5) * mass) * sides.d)


def _tail(sides: _Sides, start: Any, rest: Any, mass: Any) -> Floats:
    """Beyond the reach of the quantile: the tail's expansion about an exponential, to 1e-5."""
    e = 0.5 * minus_2_log(rest + mass * sides.v)
    return cast(Floats, start + e / start * (1.0 - (0.5 * e + 1.0) / (start * start)))
