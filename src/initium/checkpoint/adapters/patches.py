"""Another size of patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from initium.checkpoint.adapters.base import CHECKPOINT_ADAPTERS, ComputingAdapter, Shape
from initium.checkpoint.adapters.resize import check_interpolation, resize_matrix


@CHECKPOINT_ADAPTERS.register_module()
@dataclass(frozen=True, kw_only=True)
class PatchSize(ComputingAdapter):
    """Patch embedding weights [D, C, p, p] for patches of q x q pixels: PI-resize.

    w' = pinv(Bᵀ) w, where B is the matrix by which a patch x of p x p pixels is resized to q x q.
    It is the best solution of <B x, w'> = <x, w> for all x: where patches grow it is exact, so that
    a resized image has the tokens of the image itself (Beyer et al. 2023, "FlexiViT", section 3.4).
    Resizing goes one dimension at a time, B = Bₕ ⊗ B_w, and so does its pseudo-inverse. Patches need
    not be squares; dimensions before the last two (time) stay as they are.

    Args:
        name: the tensors that are meant.
        mode: `'bicubic'` or `'bilinear'`, of `torch.nn.functional.interpolate`.
        antialias: whether more than the nearest pixels count where patches shrink.

    Raises:
        InitError: an argument that is not allowed.

    >>> saved = torch.tensor([[3.0]]).view(1, 1, 1, 1)
    >>> PatchSize(name="patch_embed.weight").adapt(saved, (1, 1, 2, 2), key=0).flatten()
    tensor([0.7500, 0.7500, 0.7500, 0.7500])
    """

    mode: str = "bicubic"
    antialias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_interpolation(self)

    def shape(self, have: Shape, want: Shape) -> Shape:
        """[D, C, q, q].

        Raises:
            InitError: these are no patch embedding weights, or there are no pixels.
        """
        if have == want:
            return have
        self.check_layout(have, want, len(have) >= 4, "[width, channels, height, width]")
        if have[-2:] != want[-2:] and min(*have[-2:], *want[-2:]) < 1:
            raise self.error(
                f"it cannot make patches of {list(want[-2:])} pixels of {list(have[-2:])}"
            )
        return (*have[:-2], *want[-2:])

    def compute(self, tensor: Tensor, shape: Shape, key: int) -> Tensor:
        """The weights for the other size, in float64."""
        rows, columns = (self._inverse(tensor.shape[d], shape[d]) for d in (-2, -1))
        return rows @ tensor.to(torch.float64) @ columns.T

    def _inverse(self, old: int, new: int) -> Tensor:
        """pinv(Bᵀ) of one dimension: [new, old]."""
        matrix = resize_matrix(old, new, self.mode, self.antialias)
        inverse: Tensor = torch.linalg.pinv(matrix.T)
        return inverse
