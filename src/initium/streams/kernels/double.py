"""What is computed in float64: for float64 tensors, and in far tails."""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, D103 (kernels are typed by Numba, and explained in reference.py)

import math

from initium.streams import coefficients as c
from initium.streams.kernels.machine import (
    I64,
    U64,
    W0,
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


MAGIC, MAGIC_BITS = D(2.0**52), I64(0x433 << 52)
LOW = I64(2**52 - 1)


@compiled
def word(w, plane, i):
    return I64(U64(w[plane + i]) | (U64(w[plane + W1 + i]) << U64(32)))


@compiled
def double_of_52_bits(bits):
    """Exact, and without the conversion that vector units lack: the bits as those of 2^52 + k."""
    return double_of(bits | MAGIC_BITS) - MAGIC


@compiled
def open_unit(bits):
    return (double_of_52_bits((bits >> I64(12)) & LOW) + D(0.5)) * D(2.0**-52)


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
def normals_wide(w, blocks, out, mean, std):
    for i in range(blocks):
        radius = std * math.sqrt(minus_2_log_wide(open_unit(word(w, W0, i))))
        angle = word(w, W2, i)
        x = (double_of_52_bits(angle & LOW) - D(2.0**51)) * D(c.HALF_PI * 2.0**-52)
        y = x * x
        sine, cosine = x * horner(y, *SIN), horner(y, *COS)
        cosine = double_of(wide_bits_of(cosine) ^ (angle & SIGN))
        exchanged = (angle << I64(1)) < I64(0)
        out[2 * i] = mean + radius * (sine if exchanged else cosine)
        out[2 * i + 1] = mean + radius * (cosine if exchanged else sine)


@compiled
def uniform_wide(bits, a, width, low, high):
    unit = D((bits >> I64(11)) & I64(2**53 - 1)) * D(2.0**-53)
    return clipped(a + width * unit, low, high)


@compiled
def uniforms_wide(w, blocks, out, a, width, low, high):
    for i in range(blocks):
        out[2 * i] = uniform_wide(word(w, W0, i), a, width, low, high)
        out[2 * i + 1] = uniform_wide(word(w, W2, i), a, width, low, high)


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
def truncated_wide(w, blocks, out, mean, std, low, high, mass, offset, p_low, q_high):
    for i in range(2 * blocks):
        u = open_unit(word(w, I64(i & 1) * W2, i >> 1))
        p, q = p_low + mass * u, q_high + mass * (D(1) - u)
        x = offset + (D(0.5) * mass) * (u - (D(1) - u))
        r = math.sqrt(D(0.5) * minus_2_log_wide(p if p < q else q))
        out[i] = clipped(mean + std * quantile_wide(x, r), low, high)


@compiled
def tails(w, blocks, out, mean, std, low, high, start, rest, mass):
    for i in range(2 * blocks):
        v = D(1) - open_unit(word(w, I64(i & 1) * W2, i >> 1))
        e = D(0.5) * minus_2_log_wide(rest + mass * v)
        z = start + e / start * (D(1) - (D(0.5) * e + D(1)) / (start * start))
        out[i] = clipped(mean + std * z, low, high)
