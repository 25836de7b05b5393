"""Which tensors can be drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from initium.errors import InitRangeError
from initium.streams.distributions import Distribution
from initium.streams.dtypes import DRAWN
from initium.streams.parameters import parameters
from initium.streams.whole import Whole


def check(tensor: Tensor, drawn: Distribution | Whole) -> None:
    """Raise an `InitRangeError`, a RuntimeError, where a tensor cannot hold what is drawn for it.

    >>> from initium.streams import Normal
    >>> check(torch.empty(3, dtype=torch.int32), Normal(0, 1))
    Traceback (most recent call last):
    initium.errors.InitRangeError: torch.int32 cannot be drawn; ...
    """
    check_memory(tensor)
    check_dtype(tensor.dtype, drawn)


def check_dtype(dtype: torch.dtype, drawn: Distribution | Whole) -> None:
    """Raise an `InitRangeError` where a dtype cannot hold what is drawn."""
    if dtype.is_complex:
        raise InitRangeError(f"{dtype} cannot be drawn; fill torch.view_as_real(tensor)")
    if dtype not in DRAWN:
        allowed = ", ".join(str(other).removeprefix("torch.") for other in DRAWN)
        raise InitRangeError(f"{dtype} cannot be drawn; a floating point tensor can: {allowed}")
    if not isinstance(drawn, Whole):
        parameters(drawn, dtype)


def check_memory(tensor: Tensor) -> None:
    """Raise where elements are no numbers of their own in the memory of this process."""
    if hasattr(tensor, "placements"):
        _check_placements(tensor.placements)
    if tensor.is_quantized or tensor.layout != torch.strided:
        raise InitRangeError(f"a {tensor.layout} tensor of {tensor.dtype} cannot be initialized")
    if _overlaps(tensor):
        raise InitRangeError(
            "several elements of this tensor share their memory (it is expanded, or a view with "
            "overlapping strides); fill the tensor that it was made of, or a clone()"
        )


def _check_placements(placements: Any) -> None:
    if any(placement.is_partial() for placement in placements):
        raise InitRangeError(
            f"its placements are {placements}, so that its values are the sums of what several "
            "ranks hold; redistribute it to Shard or Replicate first"
        )
    strided = [p.dim for p in placements if hasattr(p, "split_factor")]
    if len(strided) > len(set(strided)):
        raise InitRangeError(
            f"its placements {placements} cut a strided shard once more along the same dimension, "
            "of which torch does not know which elements are where; shard it along another "
            "dimension (shard_placement_fn of fully_shard)"
        )


def _overlaps(tensor: Tensor) -> bool:
    """Whether elements may share memory: each step must lead past all that smaller steps reach."""
    if tensor.is_contiguous():
        return False
    reach = 0
    steps = zip(tensor.stride(), tensor.shape, strict=True)
    for stride, size in sorted(step for step in steps if step[1] > 1):
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False
