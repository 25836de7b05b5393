"""Initializers of matrices, whose elements depend on each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from initium import streams
from initium.errors import InitError, InitRangeError
from initium.initializers.base import Initializer, Shape, number
from initium.streams import Job, Whole, key_of
from initium.streams.orthonormal import orthonormal

_COLUMNS_AT_ONCE = 1 << 20  # elements


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """A matrix with orthonormal columns, or rows where it is wide, times a gain.

    A tensor of more dimensions is the matrix (first dimension, all others). Uniform among such
    matrices: the QR decomposition of a normal one, R's diagonal positive (Mezzadri, How to generate
    random matrices from the classical compact groups, Notices of the AMS 54, 2007). Computed in
    float64 and rounded, on all cores, each bit independent of their number and kind.

    Memory: beside the tensor the whole matrix, in float32 (for float64 tensors in float64), and
    4 bytes for each element of a square of its shorter side.

    Args:
        gain: a factor on the matrix.

    >>> Orthogonal().resulting_std([100, 25])
    0.1
    """

    gain: float = 1
    formula: ClassVar[str] = "wᵀw = gain² · 1"
    reference: ClassVar[str] = (
        "Saxe et al., Exact solutions to the nonlinear dynamics of learning in deep linear neural "
        "networks, ICLR 2014"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        number("gain", self.gain)

    def draws(self, shape: Shape) -> Whole:
        """The matrix as one."""
        if len(shape) < 2:
            raise InitError(
                f"an orthogonal tensor needs at least 2 dimensions, but its shape is {list(shape)}"
            )
        rows, n = shape[0], math.prod(shape)
        cols = n // rows if rows else 0

        def values(key: int, dtype: torch.dtype) -> Tensor:
            def draw() -> Tensor:
                tall = torch.empty(max(rows, cols), min(rows, cols), dtype=dtype, device="cpu")
                streams.fill([Job(upright(tall), key, streams.Normal(0, 1))])
                return tall

            tall = orthonormal(draw)
            if self.gain != 1:  # torch's own threads, even for nothing, may keep ours waiting
                tall *= self.gain
            return upright(tall).reshape(tuple(shape))

        def upright(tall: Tensor) -> Tensor:
            return tall if rows >= cols else tall.T

        def by_torch(tensor: Tensor, generator: torch.Generator | None) -> None:
            torch.nn.init.orthogonal_(tensor, self.gain, generator=generator)

        return Whole(values, by_torch, abs(self.gain) / math.sqrt(max(rows, cols, 1)))


@dataclass(frozen=True)
class Sparse(Initializer):
    """Normal values, of which a share in each column is set to zero.

    Args:
        sparsity: the share, from 0 to 1: ceil(sparsity · rows) elements of every column are zero.
        std: of the other values.

    >>> round(Sparse(0.75).resulting_std([8, 3]), 4)
    0.005
    """

    sparsity: float
    std: float = 0.01
    formula: ClassVar[str] = "w ~ N(0, std²), ceil(sparsity · rows) of each column zero"
    reference: ClassVar[str] = (
        "Martens, Deep learning via Hessian-free optimization, ICML 2010, section 5"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        number("sparsity", self.sparsity, least=0)
        number("std", self.std, least=0)
        if self.sparsity > 1:
            raise InitRangeError(f"sparsity must lie between 0 and 1, but got {self.sparsity!r}")

    def draws(self, shape: Shape) -> Whole:
        """The matrix as one."""
        if len(shape) != 2:
            raise InitError(
                f"a sparse tensor needs exactly 2 dimensions, but its shape is {list(shape)}"
            )
        rows, cols = shape
        zeros = math.ceil(self.sparsity * rows)

        def values(key: int, dtype: torch.dtype) -> Tensor:
            matrix = torch.empty(rows, cols, dtype=dtype, device="cpu")
            streams.fill([Job(matrix, key, streams.Normal(0, self.std))])
            _zero(matrix, zeros, key_of(key, "zeros"))
            return matrix

        def by_torch(tensor: Tensor, generator: torch.Generator | None) -> None:
            torch.nn.init.sparse_(tensor, self.sparsity, self.std, generator=generator)

        return Whole(values, by_torch, self.std * math.sqrt(1 - zeros / max(rows, 1)))


def _zero(matrix: Tensor, zeros: int, key: int) -> None:
    """Set the first `zeros` elements of a permutation of each column to zero."""
    rows, cols = matrix.shape
    if zeros == 0:
        return
    step = max(1, _COLUMNS_AT_ONCE // rows)
    for first in range(0, cols, step):
        n = min(step, cols - first)
        order = torch.empty(n, rows, dtype=torch.float64, device="cpu")
        block = streams.Block((cols, rows), (first, 0), (n, rows))
        streams.fill([Job(order, key, streams.Uniform(0, 1), block)])
        chosen = np.argpartition(order.numpy(), zeros - 1, axis=1)[:, :zeros]
        matrix[torch.from_numpy(chosen), torch.arange(first, first + n)[:, None]] = 0
