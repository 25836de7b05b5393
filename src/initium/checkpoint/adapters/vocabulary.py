"""A larger vocabulary: rows that are distributed as the old ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initium.checkpoint.adapters.base import CHECKPOINT_ADAPTERS, ComputingAdapter, Shape
from initium.checkpoint.adapters.checks import finite
from initium.streams import Block, Job, Normal, fill

# Old rows at a time, and new ones. The sums over them are exact (see `_Rows`), for which
# 2^10 rows times 2^20 (normal values) times 2^23 (old values) must not be more than 2^53.
_OLD, _NEW = 1 << 10, 1 << 10
_NORMAL, _VALUE, _MEAN = 17, 23, 42
# A thread that reads checkpoints may not wait for others of its pool: so few values are drawn on it
_DRAWN = 1 << 6


@CHECKPOINT_ADAPTERS.register_module()
@dataclass(frozen=True, kw_only=True)
class Vocabulary(ComputingAdapter):
    """Embeddings [V, D] or biases [V] with more rows, distributed as the old ones are.

    x = mean + scale · Z (W - mean) / sqrt(V - 1), where the mean is that of the old rows W and Z,
    [new, V], are standard normal values: without a factorisation x has the mean of the old rows and
    scale² times their covariance (Hewitt 2021, "Initializing new word embeddings for pretrained
    language models", which takes a scale of sqrt(1e-5)). The old rows keep their bits. Row i is the
    same however many rows are added, and on any number of threads: Z is rounded to multiples of
    2^-17 and W - mean to 23 bits of the largest of its column, so that their products add up
    exactly in any order.

    Args:
        name: the tensors that are meant.
        scale: of the deviations from the mean; 0: every new row is the mean.

    Raises:
        InitError: `scale` is negative or not finite.

    >>> saved = torch.tensor([[1.0, 4.0], [3.0, 4.0]])
    >>> Vocabulary(name="embed.weight", scale=0).adapt(saved, (3, 2), key=0)
    tensor([[1., 4.],
            [3., 4.],
            [2., 4.]])
    """

    scale: float = 1.0
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        finite("scale", self.scale, 0)

    def shape(self, have: Shape, want: Shape) -> Shape:
        """[V', D] or [V'].

        Raises:
            InitError: another layout, fewer rows than there are, or none there.
        """
        if have == want:
            return have
        self.check_layout(have, want, len(have) in (1, 2), "[rows, width] or [rows]")
        if want[0] < have[0]:
            raise self.error(
                f"it appends rows, but the saved tensor has {have[0]} and the model's only "
                f"{want[0]}; ClassHead(rows=[…]) picks rows"
            )
        if have[0] == 0 and want[0] > 0:
            raise self.error("the saved tensor has no rows, so that there is no mean")
        return (want[0], *have[1:])

    def compute(self, tensor: Tensor, shape: Shape, key: int) -> Tensor:
        """The old rows, and new ones; computed in float64, 1,024 of them at a time."""
        result, count = torch.empty(shape, dtype=tensor.dtype), len(tensor)
        result[:count] = tensor
        old = _Rows(tensor.reshape(count, -1))
        for first in range(count, shape[0], _NEW):
            part = result[first : first + _NEW]
            part.copy_(self._drawn(old, first - count, len(part), key).view(part.shape))
        return result

    def _drawn(self, old: _Rows, first: int, n: int, key: int) -> Tensor:
        if self.scale == 0:
            return old.mean.repeat(n, 1)
        factor = self.scale / math.sqrt(max(old.count - 1, 1))
        return old.mean + old.mixed(first, n, key) * factor


class _Rows:
    """Old rows, and sums over them that are exact: integers in float64, of less than 53 bits.

    Inexact ones would depend on their order, which differs with the number of threads and of rows
    and from one machine to the next.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.count = rows, len(rows)
        self.mean = torch.zeros(rows.shape[1], dtype=torch.float64)
        step = self._step(_MEAN)
        total = torch.zeros_like(self.mean)
        for _, block in self._blocks():
            total += (block / step).round_().sum(0)
        self.mean = total * step / self.count
        self.step = self._step(_VALUE)

    def mixed(self, first: int, n: int, key: int) -> Tensor:
        """Rows `first` to `first + n` of Z (W - mean)."""
        total = torch.zeros(n, self.rows.shape[1], dtype=torch.float64)
        for start, block in self._blocks():
            normal = _normal(key, self.count, (first, start), (n, len(block)))
            # not addmm: block by block the sums are exact, the sum of blocks has an order of its own
            total += normal @ (block / self.step).round_()
        return total * (self.step * 2.0**-_NORMAL)

    def _blocks(self) -> Iterator[tuple[int, Tensor]]:
        """W - mean, some rows at a time."""
        for start in range(0, self.count, _OLD):
            yield start, self.rows[start : start + _OLD].to(torch.float64) - self.mean

    def _step(self, bits: int) -> Tensor:
        """Powers of two, one a column, of which no value of W - mean is more than 2^bits."""
        largest = torch.zeros_like(self.mean)
        for _, block in self._blocks():
            largest = torch.maximum(largest, block.abs().amax(0))
        largest[largest == 0] = 1
        # the quotient is exactly the power of two above the value
        return largest / torch.frexp(largest).mantissa * 2.0**-bits


def _normal(key: int, width: int, start: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """A part of Z, times 2^17 and rounded; element (i, j) of it is number i · width + j."""
    values = torch.empty(shape)
    of = (start[0] + shape[0], width)
    for i in range(0, shape[0], _DRAWN):
        part = values[i : i + _DRAWN]
        place = Block(of=of, start=(start[0] + i, start[1]), shape=tuple(part.shape))
        fill([Job(part, key, Normal(mean=0, std=1), place)])
    return values.to(torch.float64).mul_(2.0**_NORMAL).round_()
