"""The initializers of matrices, whose elements depend on each other."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import Unpack

from initium.functional.base import AtLeast0, BaseInit, Common
from initium.initializers import Orthogonal, Sparse
from initium.initializers.allowed import Allowed
from initium.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module(name="Orthogonal")
class OrthogonalInit(BaseInit):
    """Orthonormal columns, or rows where the matrix is wide, times a gain (Saxe et al., 2014).

    A tensor of more dimensions is the matrix (first dimension, all others). Every rank that holds a
    part of it computes all of it.

    Args:
        gain: a factor on the matrix.

    >>> OrthogonalInit(layer="Linear").initializer.resulting_std([100, 25])
    0.1
    """

    def __init__(self, gain: float = 1, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.initializer = Orthogonal(gain)
        self.gain = self.initializer.gain


@WEIGHT_INITIALIZERS.register_module(name="Sparse")
class SparseInit(BaseInit):
    """Normal weights, of which a share in each column is zero (Martens, 2010); for matrices only.

    Args:
        sparsity: the share, from 0 to 1: ceil(sparsity · rows) elements of every column are zero.
        std: of the other weights.

    >>> round(SparseInit(0.75, layer="Linear").initializer.resulting_std([8, 3]), 4)
    0.005
    """

    def __init__(
        self,
        sparsity: Annotated[float, Allowed(minimum=0, maximum=1)],
        std: AtLeast0 = 0.01,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.initializer = Sparse(sparsity, std)
        self.sparsity, self.std = self.initializer.sparsity, self.initializer.std
