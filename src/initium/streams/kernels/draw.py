"""Rows of work, cut into tiles, stored in the tensor's dtype."""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, D103 (kernels are typed by Numba, and explained in reference.py)

from numba import cfunc

from initium.streams.kernels.double import normals_wide, tails, truncated_wide, uniforms_wide
from initium.streams.kernels.machine import (
    I32,
    I64,
    U16,
    U32,
    U64,
    W0,
    F,
    bits_of,
    compiled,
    f32_at,
    f64_at,
    fence,
    float_of,
    philox,
    u16_at,
    u32_at,
    u64_at,
    zipped,
)
from initium.streams.kernels.single import centrals, normals, truncated, uniforms
from initium.streams.layout import BFLOAT16, BLOCKS, COLUMNS, FLOAT32, FLOAT64, NUMBERS
from initium.streams.parameters import Kind

NORMAL, UNIFORM, CENTRAL, TRUNCATED = map(
    int, (Kind.NORMAL, Kind.UNIFORM, Kind.CENTRAL, Kind.TRUNCATED)
)


@compiled
def tile(w, x, r, blocks, out, at, t, past_caches):
    """The values of the elements of some blocks, whose words are in w, in float32."""
    kind = I64(t[0])
    if kind == NORMAL:
        normals(w, blocks, x, F(t[3]), F(t[4]))
    elif kind == UNIFORM:
        uniforms(w, blocks, x, F(t[3]), F(t[4]), F(t[5]), F(t[6]))
    elif kind == CENTRAL:
        centrals(w, blocks, x, F(t[3]), F(t[4]), F(t[5]), F(t[6]), F(t[7]), F(t[8]))
    else:
        truncated(
            w, blocks, x, r, F(t[3]), F(t[4]), F(t[5]), F(t[6]),
            F(t[7]), F(t[8]), F(t[9]), F(t[10]),
        )  # fmt: skip
    zipped(x, blocks, out, at, past_caches)


@compiled
def tile_wide(w, blocks, out, t):
    kind = I64(t[0])
    if kind == NORMAL:
        normals_wide(w, blocks, out, t[3], t[4])
    elif kind == UNIFORM:
        uniforms_wide(w, blocks, out, t[3], t[4], t[5], t[6])
    elif kind == TRUNCATED:
        truncated_wide(w, blocks, out, t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10])
    else:
        tails(w, blocks, out, t[3], t[4], t[5], t[6], t[7], t[8], t[9])


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
def tile_size(first, n, most, per_block):
    """(elements, blocks) of the next tile, which keeps to one high half of the counter."""
    skip = first % per_block
    blocks = min(most, I64(2**32) - I64(U32(first // per_block)))
    m = min(n, blocks * per_block - skip)
    return m, (skip + m + per_block - 1) // per_block


@compiled
def run_single(address, at, key, first, n, t, w, x, r, values, large):
    """N elements of a stream from `first` on, computed in float32, to address[at:]."""
    stored, done = I64(t[2]), I64(0)
    while done < n:
        skip = (first + done) & 3
        m, blocks = tile_size(first + done, n - done, I64(BLOCKS), I64(4))
        philox(key, (first + done) >> 2, blocks, w)
        if stored == FLOAT32 and skip == 0 and m & 3 == 0:
            aligned = (address + U64(4 * (at + done))) & U64(31) == U64(0)
            tile(w, x, r, blocks, f32_at(address), at + done, t, large and aligned)
        else:
            tile(w, x, r, blocks, values, W0, t, False)
            store(values, skip, m, address, at + done, stored)
        done += m


@compiled
def run_wide(address, at, key, first, n, t, w, singles, values):
    """The same, computed in float64."""
    stored, done = I64(t[2]), I64(0)
    while done < n:
        skip = (first + done) & 1
        m, blocks = tile_size(first + done, n - done, I64(BLOCKS), I64(2))
        philox(key, (first + done) >> 1, blocks, w)
        tile_wide(w, blocks, values, t)
        if stored == FLOAT64:
            doubles = f64_at(address)
            for i in range(m):
                doubles[at + done + i] = values[skip + i]
        else:
            for i in range(m):
                singles[i] = F(values[skip + i])
            store(singles, W0, m, address, at + done, stored)
        done += m


@cfunc("void(uint64, int64, uint64, uint64, int64)", error_model="numpy")
def draw(rows_at, n, tables_at, scratch_at, large):
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
                run_single(address, k * run, key, start, run, t, w, x, r, values, large != 0)
    fence()
