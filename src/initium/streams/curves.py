"""The curves of the specification: logarithm, sine and cosine, the normal quantile.

Polynomials, evaluated in the order written here, in float32 or float64 as their arguments are.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from initium.streams import coefficients as c
from initium.streams.bits import F, Floats


def minus_2_log(u: Floats) -> Floats:
    """-2·log(u) of positive normal numbers: exponent and mantissa in [sqrt(1/2), sqrt(2))."""
    if u.dtype == np.float64:
        exponent, m = _split(u, np.int64, 52, c.ROOT_DOUBLE)
        f = m - 1.0
        s = f / (2.0 + f)
        return -2.0 * (exponent * c.LN2 + s * _horner(c.LOG_DOUBLE, s * s))
    exponent, m = _split(u, np.int32, 23, c.ROOT_SINGLE)
    f = m - F(1)
    q0, q1, q2, q3, q4, q5, q6, q7 = map(F, c.LOG)
    f2 = f * f
    f4 = f2 * f2
    low, high = (q0 + q1 * f) + (q2 + q3 * f) * f2, (q4 + q5 * f) + (q6 + q7 * f) * f2
    return exponent * F(-2 * c.LN2) + (F(-2) * f + f2 * (low + high * f4))


def sine_cosine(x: Floats) -> tuple[Floats, Floats]:
    """Of angles within ±pi/4."""
    y = x * x
    if x.dtype == np.float64:
        return x * _horner(c.SIN_DOUBLE, y), _horner(c.COS_DOUBLE, y)
    s0, s1, s2 = map(F, c.SIN)
    c0, c1, c2 = map(F, c.COS)
    y2 = y * y
    sine = x + (x * y) * ((s0 + s1 * y) + s2 * y2)
    cosine = (F(1) - F(0.5) * y) + y2 * ((c0 + c1 * y) + c2 * y2)
    return sine, cosine


def middle_quantile(x: Floats) -> Floats:
    """The standard normal quantile of 1/2 + x, up to two sigma; in float32 only."""
    y = F(c.MIDST) - x * x
    y2 = y * y
    y4 = y2 * y2
    a0, a1, a2, a3, a4 = map(F, c.MIDDLE)
    b0, b1, b2, b3, b4 = map(F, c.UNDER)
    above = (((a0 + a1 * y) + (a2 + a3 * y) * y2) + a4 * y4) * x
    return cast(Floats, above / (((b0 + b1 * y) + (b2 + b3 * y) * y2) + b4 * y4))


def quantile(x: Floats, r: Floats) -> Floats:
    """The standard normal quantile of 1/2 + x; r is sqrt(-log p), p the lesser of 1/2 ± x."""
    real = x.dtype.type
    y = real(c.CENTRE**2) - x * x
    near = r - real(c.NEAR)
    if real is F:
        a0, a1, a2, a3 = map(F, c.A_SINGLE)
        b0, b1, b2, b3 = map(F, c.B_SINGLE)
        c0, c1, c2, c3 = map(F, c.C_SINGLE)
        d0, d1, d2 = map(F, c.D_SINGLE)
        y2, near2 = y * y, near * near
        centre = ((a0 + a1 * y) + (a2 + a3 * y) * y2) * x
        below = (b0 + b1 * y) + (b2 + b3 * y) * y2
        outer = np.copysign((c0 + c1 * near) + (c2 + c3 * near) * near2, x)
        outer_below = (d0 + d1 * near) + d2 * near2
    else:
        far = r - c.FAR
        centre, below = _horner(c.A_DOUBLE, y) * x, _horner(c.B_DOUBLE, y)
        outer = np.where(r <= c.FAR, _horner(c.C_DOUBLE, near), _horner(c.E_DOUBLE, far))
        outer = np.copysign(outer, x)
        outer_below = np.where(r <= c.FAR, _horner(c.D_DOUBLE, near), _horner(c.F_DOUBLE, far))
    inside = np.abs(x) < real(c.CENTRE)
    return cast(Floats, np.where(inside, centre, outer) / np.where(inside, below, outer_below))


def _split(u: Floats, integer: Any, bits: int, root: int) -> tuple[Floats, Floats]:
    """The exponent and m of u = 2^exponent · m; `root` are the bits of sqrt(1/2)."""
    shifted = u.view(integer) - integer(root)
    exponent = (shifted >> integer(bits)).astype(u.dtype)
    mantissa = (shifted & integer(2**bits - 1)) + integer(root)
    return exponent, mantissa.view(u.dtype)


def _horner(coefficients: tuple[float, ...], x: Floats) -> Floats:
    value = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value
