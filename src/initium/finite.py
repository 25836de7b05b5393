"""Whether values are finite, at the speed of memory and on one thread: others do the same meanwhile."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

# where all bits of the exponent are set, a value is NaN or infinite
_EXPONENT = {torch.float16: 0x7C00, torch.bfloat16: 0x7F80}
_SUMMED = {torch.float32: "f4", torch.float64: "f8"}


def all_finite(tensor: Tensor) -> bool:
    """Whether no value of a tensor on the CPU is NaN or infinite; True on other devices.

    >>> all_finite(torch.ones(3)), all_finite(torch.tensor([1, float("nan")]))
    (True, False)
    """
    if not (tensor.is_floating_point() or tensor.is_complex()) or not tensor.is_cpu:
        return True
    plain = tensor.is_contiguous() and tensor.numel() > 0
    if plain and tensor.dtype in _SUMMED:
        # a sum of squares is finite only if all of them are; large ones may overflow, so look again
        if _sum_of_squares(_numpy(tensor, _SUMMED[tensor.dtype])) < float("inf"):
            return True
    elif plain and tensor.dtype in _EXPONENT:
        mask = _EXPONENT[tensor.dtype]
        return not bool(((_numpy(tensor, "u2") & mask) == mask).any())
    known = tensor.is_complex() or tensor.element_size() > 1
    return bool(torch.isfinite(tensor if known else tensor.float()).all())


def _sum_of_squares(values: Any) -> float:
    import numpy as np

    with np.errstate(all="ignore"):
        return float(values.dot(values))


def _numpy(tensor: Tensor, dtype: str) -> Any:
    """The memory as an array; not by numpy(), which would leave a mark on the storage."""
    import numpy as np

    memory: Any = (ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr())
    return np.frombuffer(memory, dtype=dtype)
