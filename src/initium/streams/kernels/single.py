"""What is computed in float32."""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, D103 (kernels are typed by Numba, and explained in reference.py)

import math

from initium.streams import coefficients as c
from initium.streams.kernels.machine import (
    I32,
    U32,
    W0,
    W1,
    W2,
    W3,
    F,
    bits_of,
    clipped,
    compiled,
    float_of,
)

SIGN = I32(-(2**31))
Q0, Q1, Q2, Q3, Q4, Q5, Q6, Q7 = map(F, c.LOG)
S0, S1, S2 = map(F, c.SIN)
C0, C1, C2 = map(F, c.COS)
MID0, MID1, MID2, MID3, MID4 = map(F, c.MIDDLE)
UND0, UND1, UND2, UND3, UND4 = map(F, c.UNDER)
NUM0, NUM1, NUM2, NUM3 = map(F, c.A_SINGLE)
DEN0, DEN1, DEN2, DEN3 = map(F, c.B_SINGLE)
OUT0, OUT1, OUT2, OUT3 = map(F, c.C_SINGLE)
BELOW0, BELOW1, BELOW2 = map(F, c.D_SINGLE)


@compiled
def minus_2_log(v, root):
    """-2·log(v / 2^k), with k times the bits of 2 added to the bits of sqrt(1/2)."""
    shifted = I32(bits_of(v) - root)
    exponent = F(I32(shifted >> I32(23)))
    f = float_of(I32(I32(shifted & I32(0x7FFFFF)) + I32(c.ROOT_SINGLE))) - F(1)
    f2 = f * f
    f4 = f2 * f2
    low, high = (Q0 + Q1 * f) + (Q2 + Q3 * f) * f2, (Q4 + Q5 * f) + (Q6 + Q7 * f) * f2
    return exponent * F(-2 * c.LN2) + (F(-2) * f + f2 * (low + high * f4))


@compiled
def radii(w, plane, blocks, x, std):
    for i in range(blocks):
        length = minus_2_log(F(w[plane + i]) + F(0.5), I32(c.ROOT_SINGLE + (32 << 23)))
        x[plane + i] = std * F(math.sqrt(length))


@compiled
def on_circle(word):
    signed = I32(word)
    x = F(I32(I32(signed << I32(2)) >> I32(2))) * F(c.HALF_PI * 2.0**-30)
    y = x * x
    y2 = y * y
    sine = x + (x * y) * ((S0 + S1 * y) + S2 * y2)
    cosine = (F(1) - F(0.5) * y) + y2 * ((C0 + C1 * y) + C2 * y2)
    cosine = float_of(I32(bits_of(cosine) ^ I32(signed & SIGN)))
    exchanged = I32(signed << I32(1)) < I32(0)
    return (sine if exchanged else cosine), (cosine if exchanged else sine)


@compiled
def normals(w, blocks, x, mean, std):
    for plane in range(W0, W3, W2):
        radii(w, plane, blocks, x, std)
        for i in range(blocks):
            first, second = on_circle(w[plane + W1 + i])
            radius = x[plane + i]
            x[plane + i] = mean + radius * first
            x[plane + W1 + i] = mean + radius * second


@compiled
def uniforms(w, blocks, x, a, width, low, high):
    for plane in range(W0, 4 * W1, W1):
        for i in range(blocks):
            unit = F(I32(w[plane + i] >> U32(8))) * F(2.0**-24)
            x[plane + i] = clipped(a + width * unit, low, high)


@compiled
def difference(signed):
    """U - (1 - u)"""
    return F(I32(signed ^ SIGN)) * F(2.0**-31) + F(2.0**-32)


@compiled
def centrals(w, blocks, x, mean, std, low, high, mass, offset):
    half = F(0.5) * mass
    for plane in range(W0, 4 * W1, W1):
        for i in range(blocks):
            d = offset + half * difference(I32(w[plane + i]))
            y = F(c.MIDST) - d * d
            y2 = y * y
            y4 = y2 * y2
            above = (((MID0 + MID1 * y) + (MID2 + MID3 * y) * y2) + MID4 * y4) * d
            z = above / (((UND0 + UND1 * y) + (UND2 + UND3 * y) * y2) + UND4 * y4)
            x[plane + i] = clipped(mean + std * z, low, high)


@compiled
def sides(w, plane, blocks, x, r, mass, offset, p_low, q_high):
    half = F(0.5) * mass
    for i in range(blocks):
        signed = I32(w[plane + i])
        small = F(I32(signed ^ I32(signed >> I32(31)))) * F(2.0**-32) + F(2.0**-33)
        large = F(1) - small
        upper = signed < I32(0)
        p = p_low + mass * (large if upper else small)
        q = q_high + mass * (small if upper else large)
        x[plane + i] = offset + half * difference(signed)
        r[plane + i] = p if p < q else q


@compiled
def tail_radii(plane, blocks, r):
    for i in range(blocks):
        length = F(0.5) * minus_2_log(r[plane + i], I32(c.ROOT_SINGLE))
        r[plane + i] = F(math.sqrt(length))


@compiled
def quantile(x, r):
    y = F(c.CENTRE**2) - x * x
    near = r - F(c.NEAR)
    y2, near2 = y * y, near * near
    centre = ((NUM0 + NUM1 * y) + (NUM2 + NUM3 * y) * y2) * x
    below = (DEN0 + DEN1 * y) + (DEN2 + DEN3 * y) * y2
    outer = (OUT0 + OUT1 * near) + (OUT2 + OUT3 * near) * near2
    outer = float_of(I32(I32(bits_of(outer) & I32(0x7FFFFFFF)) | I32(bits_of(x) & SIGN)))
    outer_below = (BELOW0 + BELOW1 * near) + BELOW2 * near2
    inside = F(abs(x)) < F(c.CENTRE)
    return (centre if inside else outer) / (below if inside else outer_below)


@compiled
def truncated(w, blocks, x, r, mean, std, low, high, mass, offset, p_low, q_high):
    for plane in range(W0, 4 * W1, W1):
        sides(w, plane, blocks, x, r, mass, offset, p_low, q_high)
        tail_radii(plane, blocks, r)
        for i in range(blocks):
            value = mean + std * quantile(x[plane + i], r[plane + i])
            x[plane + i] = clipped(value, low, high)
