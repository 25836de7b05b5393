"""The specification of the streams, in plain NumPy: slow and obvious.

A tensor's stream is known by its key, 64 bits. Element i of the tensor, counted in row-major order
of its global shape, depends on the key and on i alone. Every backend gives these bits.

Arithmetic is IEEE, in the order written here: no fused multiply-add, no libm. What is drawn in
float32 is rounded to the tensor's dtype; float64 tensors have a 53-bit variant of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from initium.streams import coefficients as c
from initium.streams.parameters import Kind, Parameters

Index = NDArray[np.int64]
Words = NDArray[np.uint32]
Wide = NDArray[np.uint64]
Floats = NDArray[Any]
F = np.float32


def philox(key: int, block: Wide) -> tuple[Words, Words, Words, Words]:
    """The four words of each block; the counter is the block's number, its low word first."""
    low, high = block & np.uint64(0xFFFFFFFF), block >> np.uint64(32)
    return rounds(key, low, high, np.zeros_like(block), np.zeros_like(block))


def rounds(key: int, c0: Wide, c1: Wide, c2: Wide, c3: Wide) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10 of a counter of four words; the low half of the key is its first word."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(c.ROUNDS):
        p0, p1 = c0 * np.uint64(c.MULTIPLIERS[0]), c2 * np.uint64(c.MULTIPLIERS[1])
        c0, c1 = (p1 >> shift) ^ c1 ^ np.uint64(k0), p1 & low
        c2, c3 = (p0 >> shift) ^ c3 ^ np.uint64(k1), p0 & low
        k0, k1 = (k0 + c.WEYL[0]) & 0xFFFFFFFF, (k1 + c.WEYL[1]) & 0xFFFFFFFF
    w0, w1, w2, w3 = (word.astype(np.uint32) for word in (c0, c1, c2, c3))
    return w0, w1, w2, w3


def words(key: int, index: Index) -> Words:
    """The 32-bit word of element i: word i % 4 of block i // 4."""
    blocks: Any = philox(key, (index // 4).astype(np.uint64))
    return cast(Words, np.choose(index % 4, blocks))


def wide(key: int, index: Index) -> Wide:
    """The 64-bit word of element i: words 2·(i % 2) (low) and 2·(i % 2) + 1 of block i // 2."""
    low, high = words(key, 2 * index), words(key, 2 * index + 1)
    return low.astype(np.uint64) | (high.astype(np.uint64) << np.uint64(32))


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
    quantile: dict[Kind, Any] = {
        Kind.CENTRAL: _central,
        Kind.TRUNCATED: _truncated,
        Kind.TAIL: _tail,
    }
    value = mean + std * quantile[parameters.kind](_sides(key, index, real), *cut)
    return _round(np.clip(value, low, high), parameters)


def _round(values: Floats, parameters: Parameters) -> Floats:
    return values if parameters.keeps_double else values.astype(F)


def unit(key: int, index: Index, real: Any = F) -> Floats:
    """In [0, 1): the high 24 bits of a word, or the high 53 of a wide one."""
    if real is F:
        return (words(key, index) >> np.uint32(8)).astype(F) * F(2.0**-24)
    return (wide(key, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(key: int, index: Index, n: int) -> Index:
    """Below n <= 2³²: the high half of (wide word · n); each has its 1/n to within 2⁻³²."""
    w, shift = wide(key, index), np.uint64(32)
    carried = ((w & np.uint64(0xFFFFFFFF)) * np.uint64(n)) >> shift
    high = w >> shift
    # high·n + carried may need 65 bits where n is 2³², so its high half is taken in two steps
    product = high * np.uint64(n)
    low = (product & np.uint64(0xFFFFFFFF)) + carried
    return ((product >> shift) + (low >> shift)).astype(np.int64)


def permutation(key: int, n: int) -> Index:
    """Of 0 … n - 1: the order of the 53-bit uniform numbers; of equal ones the first is less."""
    return np.argsort(unit(key, np.arange(n), np.float64), kind="stable")


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
        length = _open_unit(wide(key, even))
        angle = wide(key, even + 1).view(np.int64)
        # the same, with the lowest 52 bits for the angle
        x = ((angle & np.int64(2**52 - 1)) - 2**51).astype(np.float64) * (c.HALF_PI * 2.0**-52)
        exchanged = (angle << np.int64(1)) < 0
    sine, cosine = _sine_cosine(x)
    cosine = np.where(angle < 0, -cosine, cosine)
    first = exchanged == (index % 2 == 0)
    return cast(Floats, std * np.sqrt(_minus_2_log(length)) * np.where(first, sine, cosine))


def _open_unit(bits: Wide) -> Floats:
    """In (0, 1): the high 52 bits and a half. One less it is exact, too."""
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


class _Sides(NamedTuple):
    """A uniform number u in (0, 1), as u, 1 - u and u - (1 - u), each accurate where it is small."""

    u: Floats
    v: Floats
    d: Floats


def _sides(key: int, index: Index, real: Any) -> _Sides:
    if real is np.float64:
        u = _open_unit(wide(key, index))
        return _Sides(u, 1.0 - u, u - (1.0 - u))
    signed: Any = words(key, index).view(np.int32)
    small = np.where(signed < 0, ~signed, signed).astype(F) * F(2.0**-32) + F(2.0**-33)
    large = F(1) - small
    d = (signed ^ np.int32(-(2**31))).astype(F) * F(2.0**-31) + F(2.0**-32)
    upper = signed < 0
    return _Sides(np.where(upper, large, small), np.where(upper, small, large), d)


def _central(sides: _Sides, mass: Any, offset: Any) -> Floats:
    """The standard normal quantile of 1/2 + x, for |x| up to two sigma; in float32 only."""
    x = offset + (F(0.5) * mass) * sides.d
    y = F(c.MIDST) - x * x
    y2 = y * y
    y4 = y2 * y2
    a0, a1, a2, a3, a4 = map(F, c.MIDDLE)
    b0, b1, b2, b3, b4 = map(F, c.UNDER)
    above = (((a0 + a1 * y) + (a2 + a3 * y) * y2) + a4 * y4) * x
    return cast(Floats, above / (((b0 + b1 * y) + (b2 + b3 * y) * y2) + b4 * y4))


def _truncated(sides: _Sides, mass: Any, offset: Any, p_low: Any, q_high: Any) -> Floats:
    """The standard normal quantile of p = p_low + mass·u, with q = 1 - p and x = p - 1/2."""
    real = sides.d.dtype.type
    p, q = p_low + mass * sides.u, q_high + mass * sides.v
    x = offset + (real(0.5) * mass) * sides.d
    r = np.sqrt(real(0.5) * _minus_2_log(np.minimum(p, q)))
    return _quantile(x, r)


def _tail(sides: _Sides, start: Any, rest: Any, mass: Any) -> Floats:
    """Beyond the reach of the quantile: the tail's expansion about an exponential, to 1e-5."""
    e = 0.5 * _minus_2_log(rest + mass * sides.v)
    return cast(Floats, start + e / start * (1.0 - (0.5 * e + 1.0) / (start * start)))


def _quantile(x: Floats, r: Floats) -> Floats:
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


def _minus_2_log(u: Floats) -> Floats:
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


def _split(u: Floats, integer: Any, bits: int, root: int) -> tuple[Floats, Floats]:
    """The exponent and m of u = 2^exponent · m; `root` are the bits of sqrt(1/2)."""
    shifted = u.view(integer) - integer(root)
    exponent = (shifted >> integer(bits)).astype(u.dtype)
    mantissa = (shifted & integer(2**bits - 1)) + integer(root)
    return exponent, mantissa.view(u.dtype)


def _sine_cosine(x: Floats) -> tuple[Floats, Floats]:
    y = x * x
    if x.dtype == np.float64:
        return x * _horner(c.SIN_DOUBLE, y), _horner(c.COS_DOUBLE, y)
    s0, s1, s2 = map(F, c.SIN)
    c0, c1, c2 = map(F, c.COS)
    y2 = y * y
    sine = x + (x * y) * ((s0 + s1 * y) + s2 * y2)
    cosine = (F(1) - F(0.5) * y) + y2 * ((c0 + c1 * y) + c2 * y2)
    return sine, cosine


def _horner(coefficients: tuple[float, ...], x: Floats) -> Floats:
    value = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value
