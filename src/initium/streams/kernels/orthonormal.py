"""The steps of `orthonormal.py`: Gram matrix, Cholesky factor, and a matrix times its inverse."""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, D103 (kernels are typed by Numba)

from numba import cfunc

from initium.streams.kernels.elimination import (
    above,
    eliminated,
    extent,
    load,
    place,
    subtract,
    tiles,
    transpose,
)
from initium.streams.kernels.machine import I64, D, compiled, f64_at
from initium.streams.layout import PANEL, TILE


@compiled
def cleared(tile, rows, columns):
    for panel in range(0, columns, PANEL):
        numbers = f64_at(place(tile, 0, panel))
        for at in range(rows * PANEL):
            numbers[at] = D(0)


@compiled
def negated(tile, rows, columns, diagonal, scratch):
    """Turn the sign of a tile; returns how far an element is, at most, from that of the identity.

    Of a tile on the diagonal the upper triangle counts. What is not finite makes it NaN.
    """
    most, farthest = f64_at(scratch), D(0)
    for lane in range(PANEL):
        most[lane] = D(0)
    for panel in range(0, columns, PANEL):
        for row in range(rows):
            numbers = f64_at(place(tile, row, panel))
            for lane in range(PANEL):
                column = panel + lane
                numbers[lane] = -numbers[lane]
                far = abs(numbers[lane] - (D(1) if diagonal and row == column else D(0)))
                counts = column < columns and (row <= column or not diagonal)
                far = far if counts else D(0)
                most[lane] = (far if far > most[lane] else most[lane]) + D(0) * far
    for lane in range(PANEL):
        farthest = (most[lane] if most[lane] > farthest else farthest) + D(0) * most[lane]
    return farthest


@cfunc(
    "void(uint64, int64, int64, int64, int64, int64, int64, uint64, uint64, uint64)",
    error_model="numpy",
)
def gram(matrix, double, m, n, i, first, last, factor, distances, scratch):
    """Tiles i, first to i, last - 1 of the Gram matrix, and their distances from the identity."""
    left, right, rows = scratch, tiles(scratch, I64(1)), extent(n, i)
    for j in range(first, last):
        cleared(tiles(above(factor, j), i), rows, extent(n, j))
    for k in range(0, m, TILE):
        terms = min(I64(TILE), m - k)
        load(matrix, double, n, k, TILE * i, terms, rows, left)
        for j in range(first, last):
            columns, result = extent(n, j), tiles(above(factor, j), i)
            if i == j:
                subtract(left, left, result, terms, rows, columns, True)
            else:
                load(matrix, double, n, k, TILE * j, terms, columns, right)
                subtract(left, right, result, terms, rows, columns, False)
    for j in range(first, last):
        result = tiles(above(factor, j), i)
        f64_at(distances)[j - first] = negated(result, rows, extent(n, j), i == j, scratch)


@cfunc("int64(uint64, int64, int64, int64)", error_model="numpy")
def eliminate(factor, n, i, j):
    """Tile i, j of the Cholesky factor; returns how many rows are done (see `substitute`)."""
    return eliminated(factor, above(factor, j), i, n, extent(n, j), i == j)


@cfunc("void(uint64, int64, int64, int64, int64, int64, uint64, uint64)", error_model="numpy")
def solve(matrix, double, n, left, first, rows, factor, scratch):
    """Some rows of a matrix, at most TILE, times the inverse of the factor, from tile `left` on.

    The factor has the columns of the identity before that.
    """
    count = (n + TILE - 1) // TILE
    for i in range(count):
        x = tiles(scratch, i)
        transpose(matrix, double, n, first, TILE * i, rows, extent(n, i), x, False)
        if i >= left:
            eliminated(factor, scratch, i, n, rows, False)
    for i in range(left, count):
        x = tiles(scratch, i)
        transpose(matrix, double, n, first, TILE * i, rows, extent(n, i), x, True)
