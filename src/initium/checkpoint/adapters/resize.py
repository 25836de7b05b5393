"""Interpolation, as `torch.nn.functional.interpolate` does it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from initium.checkpoint.adapters.checks import a_bool, one_of


def check_interpolation(adapter: Any) -> None:
    """Raise an `InitError` unless `mode` and `antialias` of an adapter are what torch can do."""
    one_of("mode", adapter.mode, "bicubic", "bilinear")
    a_bool("antialias", adapter.antialias)


def resized(images: Tensor, size: tuple[int, int], mode: str, antialias: bool) -> Tensor:
    """Images [n, channels, height, width] in another size; corners are not aligned."""
    # to a width of 1, torch 2.13 resizes the height wrongly when it is anti-aliasing
    if size[1] == 1 and size[0] != 1:
        return resized(images.mT, (1, size[0]), mode, antialias).mT
    return F.interpolate(
        images.contiguous(), size=size, mode=mode, antialias=antialias, align_corners=False
    )


def resize_matrix(old: int, new: int, mode: str, antialias: bool) -> Tensor:
    """The matrix [new, old], in float64, by which a row of `old` pixels is resized to `new`.

    >>> resize_matrix(2, 3, "bilinear", False)
    tensor([[1.0000, 0.0000],
            [0.5000, 0.5000],
            [0.0000, 1.0000]], dtype=torch.float64)
    """
    rows = torch.eye(old, dtype=torch.float64)
    return resized(rows[None, None], (old, new), mode, antialias)[0, 0].T
