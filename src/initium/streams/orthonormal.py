"""Orthonormal columns: the Q of a QR decomposition, on all cores.

Of a matrix A with independent columns, AᵀA = RᵀR (Cholesky) and Q = A R⁻¹ are its one QR decomposition
whose R has a positive diagonal. Both steps are one elimination, which makes [R | Qᵀ] of [AᵀA | Aᵀ]
(Pursell and Trimble, Gram-Schmidt orthogonalization by Gauss elimination, Amer. Math. Monthly 98, 1991).
Rounding leaves QᵀQ within some u·cond(A)² of 1, where u = 2⁻⁵³. A second pass, over Q, mends that: what is
multiplied by an upper triangle from the right keeps its Q (Yamamoto et al., Roundoff error analysis of the
CholeskyQR2 algorithm, ETNA 44, 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import fsum

import torch
from torch import Tensor

from initium.streams import pool
from initium.streams.compiled import kernel
from initium.streams.layout import PANEL, TILE
from initium.streams.memory import advise_huge_pages
from initium.streams.whole import one_thread

_PASSES = 6
# Rounding to float32 takes the elements of QᵀQ off those of 1 by 2⁻²³ at most; as much may be missing.
_ROUNDED = 2.0**-22
_LAST = 64  # columns, at least, that a further pass in float32 is about
_WORTH_THREADS = 1 << 22  # multiplications
_AT_ONCE = 8  # tiles in a row of AᵀA, for which the columns of A that they share are read once


def orthonormal(draw: Callable[[], Tensor]) -> Tensor:
    """The Q of a normal matrix, whose R has a positive diagonal: uniform among such matrices.

    All arithmetic is in float64, each element's in one order of IEEE 754 operations (fused multiply-adds
    among them): neither the number of threads nor the processor changes a bit. No element of QᵀQ differs
    from that of 1 by more than 2⁻²² in float32. A matrix that is as good as singular (a zero of one
    element is the likeliest) is drawn again for LAPACK's Householder reflections, on one thread.

    Args:
        draw: makes a matrix of independent normal numbers, the same one each time: float32 or float64,
            contiguous, on the CPU, of no fewer rows than columns. Q is made in its place.

    Memory: beside the matrix 4 · columns² bytes, and 1 KiB · columns a thread; no less than 128 KiB each.

    >>> orthonormal(lambda: torch.tensor([[3.0, 1.0], [4.0, 2.0]]))
    tensor([[ 0.6000, -0.8000],
            [ 0.8000,  0.6000]])
    """
    matrix = draw()
    if matrix.numel() == 0 or _orthonormalize(matrix):
        return matrix
    q: Tensor
    with one_thread():
        q, r = torch.linalg.qr(draw())
        q *= torch.where(r.diagonal() < 0, -1, 1)
    return q


def _orthonormalize(matrix: Tensor) -> bool:
    """Make the columns orthonormal; False: they cannot be told from dependent ones, and are lost.

    float64 takes two passes. After the first one in float32 only the last columns may lack something:
    those before them are short of a square matrix by `_LAST` or more, and so their condition number is
    moderate but for a probability of c⁶⁵ with a small c (Rudelson and Vershynin, Smallest singular value
    of a random rectangular matrix, Comm. Pure Appl. Math. 62, 2009). They are measured, and mended.
    """
    work, first = _Elimination(matrix), 0
    single = matrix.dtype == torch.float32
    for _ in range(_PASSES):
        distance = work.gram(first)
        if single and distance <= _ROUNDED:
            return True
        definite = work.factor(first)
        if not definite and not work.factor_shifted():
            return False
        work.solve(first if definite else 0)
        if distance <= 0.5 / work.n:  # ‖QᵀQ - 1‖ ≤ 1/2, cond(Q)² ≤ 3: now nothing is missing
            return True
        first = max(work.n - _LAST, 0) // TILE if single and definite else 0
    return False


class _Elimination:
    """[AᵀA | Aᵀ]: of AᵀA the tiles on the diagonal and above it, column by column; A as it is.

    All steps can begin at a column of tiles, when those before it are orthonormal.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, (self.rows, self.n) = matrix, matrix.shape
        self.double = int(matrix.dtype == torch.float64)
        self.tiles = -(-self.n // TILE)
        self.factored = _numbers(self.tiles * (self.tiles + 1) // 2 * TILE * TILE)
        advise_huge_pages(self.factored)
        self.parallel = self.rows * self.n**2 >= _WORTH_THREADS

    def gram(self, first: int = 0) -> float:
        """Compute AᵀA; returns the largest distance of an element from that of 1."""
        run, at_once = kernel("gram"), min(max(self.tiles // 4, 1), _AT_ONCE)
        distances = torch.zeros(self.tiles**2, dtype=torch.float64, device="cpu")

        def tiles(i: int, j: int) -> pool.Work:
            def work() -> int:
                shape = self.double, self.rows, self.n, i, j, min(j + at_once, self.tiles)
                found = distances.data_ptr() + 8 * (i * self.tiles + j)
                scratch = _numbers(2 * TILE * TILE)
                factored = self.factored.data_ptr()
                run(self.matrix.data_ptr(), *shape, factored, found, scratch.data_ptr())
                return 1

            return work

        def items() -> Iterator[pool.Work]:
            for i in range(self.tiles):
                for j in range(max(i, first), self.tiles, at_once):
                    yield tiles(i, j)

        pool.carry_out(items(), self.parallel)
        return distances.max().item()

    def factor(self, first: int = 0) -> bool:
        """Make R of AᵀA, one row of tiles after the other; False: AᵀA is not positive definite."""
        run, factored = kernel("eliminate"), self.factored.data_ptr()

        def tile(i: int, j: int) -> pool.Work:
            return lambda: run(factored, self.n, i, j) or 0

        for i in range(first, self.tiles):
            if tile(i, i)() < min(TILE, self.n - TILE * i):
                return False
            later = range(i + 1, self.tiles)
            pool.carry_out((tile(i, j) for j in later), self.parallel and len(later) > 1)
        return True

    def factor_shifted(self) -> bool:
        """The same with more on the diagonal of AᵀA than rounding can have taken from it.

        It makes no Q yet, but a matrix whose condition number is many times smaller (Fukaya et al.,
        Shifted Cholesky QR, SIAM J. Sci. Comput. 42, 2020).
        """
        self.gram()
        i = torch.arange(self.n, device="cpu")
        tile, i = i // TILE, i % TILE
        panel = (tile * (tile + 3) // 2 * TILE + i // PANEL * PANEL) * TILE
        diagonal = panel + i * PANEL + i % PANEL
        trace = fsum(self.factored[diagonal].tolist())
        self.factored[diagonal] += 2.0**-51 * (self.rows + self.n) * trace
        return self.factor()

    def solve(self, first: int = 0) -> None:
        """Make A R⁻¹ of A, some rows at a time."""
        run = kernel("solve")

        def some(row: int) -> pool.Work:
            def work() -> int:
                shape = self.double, self.n, first, row, min(TILE, self.rows - row)
                scratch = _numbers(self.tiles * TILE * TILE)
                factored = self.factored.data_ptr()
                run(self.matrix.data_ptr(), *shape, factored, scratch.data_ptr())
                return 1

            return work

        several = self.rows > TILE
        pool.carry_out(map(some, range(0, self.rows, TILE)), self.parallel and several)


def _numbers(n: int) -> Tensor:
    return torch.empty(n, dtype=torch.float64, device="cpu")
