"""Columns made orthonormal by Gaussian elimination, on tiles of float64 (see `orthonormal.py`).

A tile lies in panels of 16 columns, each row by row, so that what the innermost loop reads follows in
memory. Every element takes its terms in the order 0, 1, 2, … by fused multiply-adds, which IEEE 754
rounds once: vectors, strips and tiles of any size give the same bits.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, ARG001, D103 (kernels are typed by Numba)

import math

from llvmlite import binding, ir
from numba import types
from numba.core.cgutils import alloca_once, for_range, get_or_insert_function
from numba.extending import intrinsic

from initium.streams.kernels.machine import I64, U64, D, F, compiled, f32_at, f64_at
from initium.streams.layout import PANEL, TILE

LANES = 8
# so many rows and vectors of sums find room in the registers: 32 of 512 bits, or 16 of 256
STRIP, VECTORS = (8, 2) if binding.get_host_cpu_features().get("avx512f") else (4, 1)
STEP = VECTORS * LANES
AHEAD = 32  # rows, which lie too far apart for a processor to foresee


def _updating(rows, vectors):
    """A function: result[i, j] -= left[k, i] · right[k, j], k = 0, 1, …; i < rows, j < vectors · LANES."""
    number, word, short = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
    vector = ir.VectorType(number, LANES)
    nothing, zeros = ir.Constant(vector, ir.Undefined), ir.VectorType(short, LANES)([0] * LANES)
    places = [(i, j) for i in range(rows) for j in range(vectors)]

    @intrinsic
    def update(context, terms, left, right, result):
        def code(context, builder, signature, arguments):
            terms, *addresses = arguments
            left, right, result = (builder.inttoptr(a, number.as_pointer()) for a in addresses)

            def at(pointer, index, kind=vector):
                return builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer())

            def loaded(pointer, index):
                return builder.load(at(pointer, index), align=8)

            fma = get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f64"
            )
            sums = {place: alloca_once(builder, vector) for place in places}
            for (i, j), kept in sums.items():
                builder.store(loaded(result, word(i * PANEL + j * LANES)), kept)
            with for_range(builder, terms) as loop:
                first = builder.mul(loop.index, word(PANEL))
                after = [builder.add(first, word(i)) for i in range(PANEL)]
                row = [loaded(right, after[j * LANES]) for j in range(vectors)]
                for i in range(rows):
                    by = builder.fneg(builder.load(at(left, after[i], number)))
                    lanes = builder.insert_element(nothing, by, short(0))
                    lanes = builder.shuffle_vector(lanes, nothing, zeros)
                    for j in range(vectors):
                        added = builder.call(fma, [lanes, row[j], builder.load(sums[i, j])])
                        builder.store(added, sums[i, j])
            for (i, j), kept in sums.items():
                where = at(result, word(i * PANEL + j * LANES))
                builder.store(builder.load(kept), where, align=8)
            return context.get_dummy_value()

        return types.void(types.int64, types.uint64, types.uint64, types.uint64), code

    return update


update, update_row = _updating(STRIP, VECTORS), _updating(1, PANEL // LANES)


@intrinsic
def prefetch(context, address):
    """Have the cache fetch what lies there, if anything does."""

    def code(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, *[ir.IntType(32)] * 3])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        to_read, near, data = map(ir.IntType(32), (0, 3, 1))
        builder.call(fetch, [pointer, to_read, near, data])
        return context.get_dummy_value()

    return types.void(types.uint64), code


@compiled
def tiles(first, i):
    return first + U64(8 * TILE * TILE * i)


@compiled
def place(tile, row, column):
    return tile + U64(8 * (column // PANEL * (TILE * PANEL) + row * PANEL + column % PANEL))


@compiled
def extent(n, i):
    """How many of n rows or columns tile i has."""
    return min(I64(TILE), n - TILE * i)


@compiled
def above(factor, j):
    """The tiles in column j of an upper triangle: 0 to j, one after the other."""
    return tiles(factor, j * (j + 1) // 2)


@compiled
def subtract(left, right, result, terms, rows, columns, upper):
    """Subtract leftᵀ · right; with `upper`, at least what is on the diagonal or above it."""
    for column in range(0, columns, STEP):
        for row in range(0, min(rows, column + STEP) if upper else rows, STRIP):
            update(terms, place(left, 0, row), place(right, 0, column), place(result, row, column))


@compiled
def substitute(factor, x, rows, columns, factoring):
    """Multiply x by factor⁻ᵀ; with `factoring` both are one tile, which becomes its Cholesky factor.

    The diagonal of the factor holds reciprocals. Returns how many rows are done: not all, where a
    pivot is not positive.
    """
    for strip in range(0, rows, STRIP):
        left = strip // PANEL * PANEL if factoring else 0
        for column in range(left, columns, STEP):
            update(strip, place(factor, 0, strip), place(x, 0, column), place(x, strip, column))
        for i in range(strip, min(strip + STRIP, rows)):
            pivot = f64_at(place(factor, i, i))
            scale = pivot[0]
            for column in range(left, columns, PANEL):
                at = place(x, i, column)
                update_row(i - strip, place(factor, strip, i), place(x, strip, column), at)
                if factoring and column == left:
                    if not pivot[0] > D(0):
                        return i
                    scale = D(1) / math.sqrt(pivot[0])
                row = f64_at(at)
                for lane in range(PANEL):
                    row[lane] *= scale
            if factoring:
                pivot[0] = scale
    return rows


@compiled
def eliminated(factor, x, i, n, columns, factoring):
    """Row i of the tiles of x, after those above it."""
    rows, row = extent(n, i), above(factor, i)
    for k in range(i):
        subtract(tiles(row, k), tiles(x, k), tiles(x, i), I64(TILE), rows, columns, factoring)
    return substitute(tiles(row, i), tiles(x, i), rows, columns, factoring)


@compiled
def load(matrix, double, stride, row, column, rows, columns, tile):
    """A tile of a matrix; the last panel is filled up with zeros."""
    singles, doubles = f32_at(matrix), f64_at(matrix)
    for k in range(rows):
        for panel in range(0, columns, PANEL):
            target, here = f64_at(place(tile, k, panel)), min(I64(PANEL), columns - panel)
            first = (row + k) * stride + column + panel
            prefetch(matrix + U64((first + AHEAD * stride) * (8 if double else 4)))
            if here < PANEL:
                for lane in range(here):
                    target[lane] = doubles[first + lane] if double else D(singles[first + lane])
                for lane in range(here, PANEL):
                    target[lane] = D(0)
            elif double:  # loops of known length are vectors
                for lane in range(PANEL):
                    target[lane] = doubles[first + lane]
            else:
                for lane in range(PANEL):
                    target[lane] = D(singles[first + lane])


@compiled
def transpose(matrix, double, stride, row, column, rows, columns, tile, back):
    """A tile of a matrix, transposed; or `back`. A cache line of the matrix is used up at once."""
    singles, doubles = f32_at(matrix), f64_at(matrix)
    for panel in range(0, rows, PANEL):
        for block in range(0, columns, PANEL):
            numbers, width = f64_at(place(tile, block, panel)), min(I64(PANEL), columns - block)
            for lane in range(min(I64(PANEL), rows - panel)):
                first = (row + panel + lane) * stride + column + block
                for k in range(width):
                    if not back:
                        number = doubles[first + k] if double else D(singles[first + k])
                        numbers[k * PANEL + lane] = number
                    elif double:
                        doubles[first + k] = numbers[k * PANEL + lane]
                    else:
                        singles[first + k] = F(numbers[k * PANEL + lane])
