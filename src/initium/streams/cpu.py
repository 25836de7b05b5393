"""The streams on a CPU, as kernels for Numba: `reference.py`, written so that loops vectorise.

Imported when kernels are compiled, once per machine (`compiled.py` loads them afterwards).

Three habits keep LLVM's vectors wide. Planes: the words 0 of all blocks of a tile lie together,
then the words 1, and so on. Short chains: a formula of many steps is cut into passes over a tile
that fits the first-level cache. Narrow types: Numba widens int32 arithmetic to int64, so each
result is cast back. Memory is addressed by plain pointers: nothing here can raise.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, ARG001, D103 (kernels are typed by Numba, and explained in reference.py)

import math

import numpy as np
from numba import cfunc, njit, types
from numba.extending import intrinsic

from initium.streams import coefficients as c
from initium.streams.layout import (
    BFLOAT16,
    BLOCKS,
    COLUMNS,
    FLOAT32,
    FLOAT64,
    NUMBERS,
)
from initium.streams.parameters import Kind

F, D = np.float32, np.float64
U16, I32, U32, I64, U64 = np.uint16, np.int32, np.uint32, np.int64, np.uint64
compiled = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

NORMAL, UNIFORM, CENTRAL, TRUNCATED = map(
    int, (Kind.NORMAL, Kind.UNIFORM, Kind.CENTRAL, Kind.TRUNCATED)
)
# typed, since Numba compiles a function anew for each literal that it is called with
W0, W1, W2, W3 = map(I64, range(0, 4 * BLOCKS, BLOCKS))  # where the planes begin
M0, M1 = U64(c.MULTIPLIERS[0]), U64(c.MULTIPLIERS[1])
STEP0, STEP1 = U32(c.WEYL[0]), U32(c.WEYL[1])
SIGN, SIGN_WIDE = I32(-(2**31)), I64(-(2**63))
Q0, Q1, Q2, Q3, Q4, Q5, Q6, Q7 = map(F, c.LOG)
S0, S1, S2 = map(F, c.SIN)
C0, C1, C2 = map(F, c.COS)
MID0, MID1, MID2, MID3, MID4 = map(F, c.MIDDLE)
UND0, UND1, UND2, UND3, UND4 = map(F, c.UNDER)
NUM0, NUM1, NUM2, NUM3 = map(F, c.A_SINGLE)
DEN0, DEN1, DEN2, DEN3 = map(F, c.B_SINGLE)
OUT0, OUT1, OUT2, OUT3 = map(F, c.C_SINGLE)
BELOW0, BELOW1, BELOW2 = map(F, c.D_SINGLE)
MOST = len(c.LOG_DOUBLE)


def _padded(coefficients):
    """With zeros as the highest, which leave Horner's scheme as it is, to the bit."""
    return tuple(map(D, coefficients)) + (D(0),) * (MOST - len(coefficients))


LOG, SIN, COS = map(_padded, (c.LOG_DOUBLE, c.SIN_DOUBLE, c.COS_DOUBLE))
CENTRE, BELOW = map(_padded, (c.A_DOUBLE, c.B_DOUBLE))
NEAR, NEAR_BELOW, FAR, FAR_BELOW = map(_padded, (c.C_DOUBLE, c.D_DOUBLE, c.E_DOUBLE, c.F_DOUBLE))


def _reinterpret(source, target):
    """The same bits as another type of the same width."""

    @intrinsic
    def view(context, value):
        def code(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

        return target(source), code

    return view


def _pointer(pointee):
    """An address as a pointer."""

    @intrinsic
    def at(context, address):
        def code(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(pointee)(types.uint64), code

    return at


bits_of, float_of = (
    _reinterpret(types.float32, types.int32),
    _reinterpret(types.int32, types.float32),
)
wide_bits_of, double_of = (
    _reinterpret(types.float64, types.int64),
    _reinterpret(types.int64, types.float64),
)
u16_at, u32_at, u64_at = map(_pointer, (types.uint16, types.uint32, types.uint64))
f32_at, f64_at = map(_pointer, (types.float32, types.float64))


# words


@compiled
def philox(key, first, blocks, w):
    for i in range(blocks):
        counter = U64(first) + U64(i)
        c0, c1, c2, c3 = U32(counter), U32(counter >> U64(32)), U32(0), U32(0)
        k0, k1 = U32(key), U32(key >> U64(32))
        for _ in range(c.ROUNDS):
            p0, p1 = U64(c0) * M0, U64(c2) * M1
            c0, c1 = U32(U32(p1 >> U64(32)) ^ c1 ^ k0), U32(p1)
            c2, c3 = U32(U32(p0 >> U64(32)) ^ c3 ^ k1), U32(p0)
            k0, k1 = U32(k0 + STEP0), U32(k1 + STEP1)
        w[i], w[W1 + i], w[W2 + i], w[W3 + i] = c0, c1, c2, c3


# float32


@compiled
def minus_2_log(u):
    shifted = I32(bits_of(u) - I32(c.ROOT_SINGLE))
    exponent = F(I32(shifted >> I32(23)))
    f = float_of(I32(I32(shifted & I32(0x7FFFFF)) + I32(c.ROOT_SINGLE))) - F(1)
    f2 = f * f
    f4 = f2 * f2
    low, high = (Q0 + Q1 * f) + (Q2 + Q3 * f) * f2, (Q4 + Q5 * f) + (Q6 + Q7 * f) * f2
    return exponent * F(-2 * c.LN2) + (F(-2) * f + f2 * (low + high * f4))


@compiled
def radii(w, plane, blocks, x, std):
    for i in range(blocks):
        u = F(w[plane + i]) * F(2.0**-32) + F(2.0**-33)
        x[plane + i] = std * F(math.sqrt(minus_2_log(u)))


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
def normals(w, x, blocks, out, at, mean, std):
    radii(w, W0, blocks, x, std)
    radii(w, W2, blocks, x, std)
    for i in range(blocks):
        even, odd = on_circle(w[W1 + i])
        even_2, odd_2 = on_circle(w[W3 + i])
        out[at + 4 * i] = mean + x[i] * even
        out[at + 4 * i + 1] = mean + x[i] * odd
        out[at + 4 * i + 2] = mean + x[W2 + i] * even_2
        out[at + 4 * i + 3] = mean + x[W2 + i] * odd_2


@compiled
def clipped(value, low, high):
    value = low if value < low else value
    return high if value > high else value


@compiled
def uniform(word, a, width, low, high):
    return clipped(a + width * (F(I32(word >> U32(8))) * F(2.0**-24)), low, high)


@compiled
def uniforms(w, blocks, out, at, a, width, low, high):
    for i in range(blocks):
        out[at + 4 * i] = uniform(w[i], a, width, low, high)
        out[at + 4 * i + 1] = uniform(w[W1 + i], a, width, low, high)
        out[at + 4 * i + 2] = uniform(w[W2 + i], a, width, low, high)
        out[at + 4 * i + 3] = uniform(w[W3 + i], a, width, low, high)


@compiled
def difference(signed):
    """U - (1 - u)"""
    return F(I32(signed ^ SIGN)) * F(2.0**-31) + F(2.0**-32)


@compiled
def central(word, mean, std, low, high, half, offset):
    x = offset + half * difference(I32(word))
    y = F(c.MIDST) - x * x
    y2 = y * y
    y4 = y2 * y2
    above = (((MID0 + MID1 * y) + (MID2 + MID3 * y) * y2) + MID4 * y4) * x
    z = above / (((UND0 + UND1 * y) + (UND2 + UND3 * y) * y2) + UND4 * y4)
    return clipped(mean + std * z, low, high)


@compiled
def centrals(w, blocks, out, at, mean, std, low, high, mass, offset):
    half = F(0.5) * mass
    for i in range(blocks):
        out[at + 4 * i] = central(w[i], mean, std, low, high, half, offset)
        out[at + 4 * i + 1] = central(w[W1 + i], mean, std, low, high, half, offset)
        out[at + 4 * i + 2] = central(w[W2 + i], mean, std, low, high, half, offset)
        out[at + 4 * i + 3] = central(w[W3 + i], mean, std, low, high, half, offset)


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
        r[plane + i] = F(math.sqrt(F(0.5) * minus_2_log(r[plane + i])))


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
def truncated(w, x, r, blocks, out, at, mean, std, low, high, mass, offset, p_low, q_high):
    for plane in range(0, 4 * BLOCKS, BLOCKS):
        sides(w, plane, blocks, x, r, mass, offset, p_low, q_high)
        tail_radii(plane, blocks, r)
    for i in range(blocks):
        out[at + 4 * i] = clipped(mean + std * quantile(x[i], r[i]), low, high)
        for plane in range(BLOCKS, 4 * BLOCKS, BLOCKS):
            value = mean + std * quantile(x[plane + i], r[plane + i])
            out[at + 4 * i + plane // BLOCKS] = clipped(value, low, high)


# float64


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
        cosine = double_of(wide_bits_of(cosine) ^ (signed & SIGN_WIDE))
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
        x = offset + (D(0.5) * mass) * (D(signed ^ SIGN_WIDE) * D(2.0**-63) + D(2.0**-64))
        r = math.sqrt(D(0.5) * minus_2_log_wide(p if p < q else q))
        out[i] = clipped(mean + std * quantile_wide(x, r), low, high)


@compiled
def tails(w, n, out, mean, std, low, high, start, rest, mass):
    for i in range(n):
        signed = I64(wide(w, i))
        small = small_side(signed)
        v = small if signed < I64(0) else D(1) - small
        z = start + D(0.5) * minus_2_log_wide(rest + mass * v) / start
        out[i] = clipped(mean + std * z, low, high)


# tiles, runs, rows


@compiled
def tile(w, x, r, blocks, out, at, t):
    """The values of the elements of some blocks, whose words are in w, in float32."""
    kind = I64(t[0])
    if kind == NORMAL:
        normals(w, x, blocks, out, at, F(t[3]), F(t[4]))
    elif kind == UNIFORM:
        uniforms(w, blocks, out, at, F(t[3]), F(t[4]), F(t[5]), F(t[6]))
    elif kind == CENTRAL:
        mass, offset = F(t[7]), F(t[8])
        centrals(w, blocks, out, at, F(t[3]), F(t[4]), F(t[5]), F(t[6]), mass, offset)
    else:
        truncated(
            w, x, r, blocks, out, at, F(t[3]), F(t[4]), F(t[5]), F(t[6]),
            F(t[7]), F(t[8]), F(t[9]), F(t[10]),
        )  # fmt: skip


@compiled
def tile_wide(w, n, out, t):
    kind = I64(t[0])
    if kind == NORMAL:
        normals_wide(w, n, out, t[3], t[4])
    elif kind == UNIFORM:
        uniforms_wide(w, n, out, t[3], t[4], t[5], t[6])
    elif kind == TRUNCATED:
        truncated_wide(w, n, out, t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10])
    else:
        tails(w, n, out, t[3], t[4], t[5], t[6], t[7], t[8], t[9])


@compiled
def bfloat16(value):
    """The bits of the nearest bfloat16, of two the even one."""
    bits = U32(bits_of(value))
    return U16(U32(bits + U32(0x7FFF) + U32(U32(bits >> U32(16)) & U32(1))) >> U32(16))


@compiled
def float16(value):
    """The bits of the nearest float16, of two the even one."""
    bits = U32(bits_of(value))
    size = U32(bits & U32(0x7FFFFFFF))
    normal = U32(U32(size - U32(112 << 23) + U32(0xFFF) + U32(U32(size >> U32(13)) & U32(1))) >> 13)
    # added to 1/2, whose last place is the least float16, a small value is rounded by the adder
    least = U32(U32(bits_of(float_of(I32(size)) + F(0.5))) - U32(0x3F000000))
    half = least if size < U32(0x38800000) else normal
    half = U32(0x7C00) if size >= U32(0x477FF000) else half
    return U16(half | U32(U32(bits >> U32(16)) & U32(0x8000)))


@compiled
def store(values, skip, n, address, at, stored):
    """Copy n values from behind the first ones, which nobody asked for."""
    if stored == FLOAT32:
        singles = f32_at(address)
        for i in range(n):
            singles[at + i] = values[skip + i]
    elif stored == BFLOAT16:
        halves = u16_at(address)
        for i in range(n):
            halves[at + i] = bfloat16(values[skip + i])
    else:
        halves = u16_at(address)
        for i in range(n):
            halves[at + i] = float16(values[skip + i])


@compiled
def run_single(address, at, key, first, n, t, w, x, r, values):
    """N elements of a stream from `first` on, computed in float32, to address[at:]."""
    stored, skip, done = I64(t[2]), first & 3, I64(0)
    while done < n:
        m = min(n - done, 4 * BLOCKS - skip)
        blocks = (skip + m + 3) >> 2
        philox(key, (first + done) >> 2, blocks, w)
        if stored == FLOAT32 and skip + m == m and m & 3 == 0:
            tile(w, x, r, blocks, f32_at(address), at + done, t)
        else:
            tile(w, x, r, blocks, values, W0, t)
            store(values, skip, m, address, at + done, stored)
        done += m
        skip = I64(0)


@compiled
def run_wide(address, at, key, first, n, t, w, singles, values):
    """The same, computed in float64."""
    stored, skip, done = I64(t[2]), first & 1, I64(0)
    while done < n:
        m = min(n - done, 2 * BLOCKS - skip)
        blocks = (skip + m + 1) >> 1
        philox(key, (first + done) >> 1, blocks, w)
        tile_wide(w, 2 * blocks, values, t)
        if stored == FLOAT64:
            doubles = f64_at(address)
            for i in range(m):
                doubles[at + done + i] = values[skip + i]
        else:
            for i in range(m):
                singles[i] = F(values[skip + i])
            store(singles, W0, m, address, at + done, stored)
        done += m
        skip = I64(0)


@cfunc("void(uint64, int64, uint64, uint64)", error_model="numpy")
def draw(rows_at, n, tables_at, scratch_at):
    """Carry out n rows of work."""
    rows, tables = u64_at(rows_at), f64_at(tables_at)
    plane = U64(4 * BLOCKS * 4)
    w, x, r = u32_at(scratch_at), f32_at(scratch_at + plane), f32_at(scratch_at + 2 * plane)
    values, doubles = f32_at(scratch_at + U64(3) * plane), f64_at(scratch_at + plane)
    for i in range(n):
        row = i * len(COLUMNS)
        address, key, first, run = rows[row], rows[row + 1], I64(rows[row + 2]), I64(rows[row + 3])
        stride, runs = I64(rows[row + 4]), I64(rows[row + 5])
        t = f64_at(tables_at + rows[row + 6] * U64(8 * NUMBERS))
        for k in range(runs):
            start = first + k * stride
            if tables[I64(rows[row + 6]) * NUMBERS + 1] != 0:
                run_wide(address, k * run, key, start, run, t, w, values, doubles)
            else:
                run_single(address, k * run, key, start, run, t, w, x, r, values)
