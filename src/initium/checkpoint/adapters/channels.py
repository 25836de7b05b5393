"""Another number of input channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from initium.checkpoint.adapters.base import CHECKPOINT_ADAPTERS, ComputingAdapter, Shape
from initium.checkpoint.adapters.checks import one_of


@CHECKPOINT_ADAPTERS.register_module()
@dataclass(frozen=True, kw_only=True)
class InputChannels(ComputingAdapter):
    """Convolution weights [out, C, *kernel] for N instead of C input channels.

    - `'sum'` (N is 1): W' = sum over c of W[:, c], for grey images;
    - `'repeat'`: W'[:, j] = W[:, j mod C] · C/N, as 3-D convolutions are inflated from 2-D ones
      (Carreira and Zisserman 2017, "Quo vadis, action recognition?", section 2.4);
    - `'mean'`: W'[:, j] = sum over c of W[:, c] / N, the mean over the channels times C/N (the mean
      is that of Wang et al. 2016, "Temporal segment networks", section 3.2).

    So what it answers to an input that is equal in all channels stays the same: with `'sum'` and
    `'mean'` always, with `'repeat'` where N is a multiple of C. The formulas are for convolutions
    of one group; those of several, and transposed ones, lay out their weights in another way.

    Args:
        name: the tensors that are meant.
        how: `'sum'`, `'repeat'` or `'mean'`.

    Raises:
        InitError: `how` is something else.

    >>> rgb = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    >>> InputChannels(name="stem.weight", how="sum").adapt(rgb, (1, 1, 1, 1), key=0).flatten()
    tensor([6.])
    >>> InputChannels(name="stem.weight", how="mean").adapt(rgb, (1, 4, 1, 1), key=0).flatten()
    tensor([1.5000, 1.5000, 1.5000, 1.5000])
    """

    how: str

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("how", self.how, "sum", "repeat", "mean")

    def shape(self, have: Shape, want: Shape) -> Shape:
        """[out, N, *kernel].

        Raises:
            InitError: these are no convolution weights, or `'sum'` should make more than 1 channel.
        """
        if have == want:
            return have
        self.check_layout(have, want, len(have) >= 3, "[out, channels, *kernel]")
        old, new = have[1], want[1]
        if old != new and min(old, new) < 1:
            raise self.error(f"it cannot make {new} channels of {old}")
        if old != new and new != 1 and self.how == "sum":
            raise self.error(
                f"it makes 1 channel, but the tensor has {new}; use how='mean' or how='repeat'"
            )
        return (have[0], new, *have[2:])

    def compute(self, tensor: Tensor, shape: Shape, key: int) -> Tensor:
        """The weights for N channels, in float64."""
        weight, old, new = tensor.to(torch.float64), tensor.shape[1], shape[1]
        if self.how == "repeat":
            result = weight[:, torch.arange(new) % old] * (old / new)
        else:
            result = (_sum(weight) / new).expand(shape)
        return result.contiguous()


def _sum(weight: Tensor) -> Tensor:
    """The sum over dimension 1, which stays: one by one, so that the order is always the same."""
    total = weight[:, :1].clone()
    for c in range(1, weight.shape[1]):
        total += weight[:, c : c + 1]
    return total
