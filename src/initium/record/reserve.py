"""Memory for tensors that are larger than the machine: address space, until it is written to."""

from __future__ import annotations

import mmap
import sys
from typing import Any

import torch
from torch import Tensor

# Linux's number; Python names it from 3.13 on
_NORESERVE = 0x4000


def allocate(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What an `empty` of torch returns.

    The kernel refuses an allocation beyond the machine's memory, though nothing of it is written;
    such a one gets address space that is not reserved.
    """
    try:
        out: Tensor = func(*args, **kwargs)
    except RuntimeError as error:
        if "allocate memory" not in str(error) or sys.platform != "linux":
            raise
        shape = func(*args, **{**kwargs, "device": "meta", "pin_memory": False})
        return _reserved(shape)
    return out


def _reserved(shape: Tensor) -> Tensor:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
    memory = mmap.mmap(-1, shape.untyped_storage().nbytes(), flags=flags)
    flat = torch.frombuffer(memory, dtype=torch.uint8)
    return flat.view(shape.dtype).as_strided(shape.shape, shape.stride())
