"""What is computed in float64: for float64 tensors, and in far tails."""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, D103 (kernels are typed by Numba, and explained in reference.py)

import math

from initium.streams import coefficients as c
from initium.streams.kernels.machine import (
    I64,
    U64,
    W1,
    W2,
    D,
    clipped,
    compiled,
    double_of,
    wide_bits_of,
)

SIGN = I64(-(2**63))
MOST = len(c.LOG_DOUBLE)


def _padded(coefficients):
    """With zeros as the highest, which leave Horner's scheme as it is, to the bit."""
    return tuple(map(D, coefficients)) + (D(0),) * (MOST - len(coefficients))


LOG, SIN, COS = map(_padded, (c.LOG_DOUBLE, c.SIN_DOUBLE, c.COS_DOUBLE))
CENTRE, BELOW = map(_padded, (c.A_DOUBLE, c.B_DOUBLE))
NEAR, NEAR_BELOW, FAR, FAR_BELOW = map(_padded, (c.C_DOUBLE, c.D_DOUBLE, c.E_DOUBLE, c.F_DOUBLE))


@compiled
def wide(w, i):
    """The 64-bit word of element i of a tile."""
    plane = I64(i & 1) * W2
    return U64(w[plane + (i >> 1)]) | (U64(w[plane + W1 + (i >> 1)]) << U64(32))


@compiled
def horner(x, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10):
    value = ((((c10 * x + c9) * x + c8) * x + c7) * x + c6) * x + c5
    return ((((value * x + c4) * x + c3) * x + c2) * x + c1) * x + c0


@compiled
def minus_2_log_wide(u):
    shifted = wide_bits_of(u) - I64(c.ROOT_DOUBLE)
    exponent = D(shifted >> I64(52))
    f = double_of((shifted & I64(2**52 - 1)) + I64(c.ROOT_DOUBLE)) - D(1)
    s = f / (D(2) + f)
    return D(-2) * (exponent * D(c.LN2) + s * horner(s * s, *LOG))


@compiled
def normals_wide(w, n, out, mean, std):
    for i in range(0, n, 2):
        radius = std * math.sqrt(minus_2_log_wide(D(wide(w, i)) * D(2.0**-64) + D(2.0**-65)))
        signed = I64(wide(w, i + 1))
        x = D((signed << I64(2)) >> I64(2)) * D(c.HALF_PI * 2.0**-62)
        y = x * x
        sine, cosine = x * horner(y, *SIN), horner(y, *COS)
        cosine = double_of(wide_bits_of(cosine) ^ (signed & SIGN))
        exchanged = (signed << I64(1)) < I64(0)
        out[i] = mean + radius * (sine if exchanged else cosine)
        out[i + 1] = mean + radius * (cosine if exchanged else sine)


@compiled
def uniforms_wide(w, n, out, a, width, low, high):
    for i in range(n):
        unit = D(I64(wide(w, i) >> U64(11))) * D(2.0**-53)
        out[i] = clipped(a + width * unit, low, high)


@compiled
def quantile_wide(x, r):
    if abs(x) < D(c.CENTRE):
        y = D(c.CENTRE**2) - x * x
        return horner(y, *CENTRE) * x / horner(y, *BELOW)
    if r <= D(c.FAR):
        outer = horner(r - D(c.NEAR), *NEAR) / horner(r - D(c.NEAR), *NEAR_BELOW)
    else:
        outer = horner(r - D(c.FAR), *FAR) / horner(r - D(c.FAR), *FAR_BELOW)
    return -outer if x < D(0) else outer


@compiled
def small_side(signed):
    return D(signed ^ (signed >> I64(63))) * D(2.0**-64) + D(2.0**-65)


@compiled
def truncated_wide(w, n, out, mean, std, low, high, mass, offset, p_low, q_high):
    for i in range(n):
        signed = I64(wide(w, i))
        small = small_side(signed)
        large = D(1) - small
        upper = signed < I64(0)
        p = p_low + mass * (large if upper else small)
        q = q_high + mass * (small if upper else large)
        x = offset + (D(0.5) * mass) * (D(signed ^ SIGN) * D(2.0**-63) + D(2.0**-64))
        r = math.sqrt(D(0.5) * minus_2_log_wide(p if p < q else q))
        out[i] = clipped(mean + std * quantile_wide(x, r), low, high)


@compiled
def tails(w, n, out, mean, std, low, high, start, rest, mass):
    for i in range(n):
        signed = I64(wide(w, i))
        small = small_side(signed)
        v = small if signed < I64(0) else D(1) - small
        e = D(0.5) * minus_2_log_wide(rest + mass * v)
        z = start + e / start * (D(1) - (D(0.5) * e + D(1)) / (start * start))
        out[i] = clipped(mean + std * z, low, high)
