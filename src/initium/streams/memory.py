"""What is known and asked of memory."""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from initium.streams.layout import SCRATCH

HUGE = 2 << 20  # bytes of a huge page on Linux
_WORTH_IT = 4 * HUGE
_PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})


def has_memory(tensor: Tensor) -> bool:
    """Whether there is anything to write to: not on `meta`, and not where shapes are only traced."""
    return not tensor.is_meta and not hasattr(tensor, "fake_mode")


def is_plain(tensor: Tensor) -> bool:
    """Whether the tensor is memory of this process seen row by row, and no subclass of its own."""
    return type(tensor) in _PLAIN and tensor.is_cpu and tensor.is_contiguous()


def advise_huge_pages(tensor: Tensor) -> None:
    """Ask the system for huge pages below a large tensor: a hint, which it may ignore.

    Writing fresh memory mostly waits for the kernel to hand out pages; of 2 MiB there are 512
    times fewer than of 4 KiB.
    """
    start, size = tensor.data_ptr(), tensor.nbytes
    if size < _WORTH_IT:
        return
    first = -(-start // HUGE) * HUGE
    if sys.platform == "linux":
        advise(first, (start + size - first) // HUGE * HUGE, mmap.MADV_HUGEPAGE)


def advise(start: int, size: int, advice: int) -> bool:
    """Tell the system what will be done with memory (see `madvise`); whether it has listened."""
    function = _madvise()
    return function is not None and function(start, size, advice) == 0


@cache
def _madvise() -> Any:
    if sys.platform != "linux":
        return None
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function


class _Local(threading.local):
    """What a thread works in. Allocated once: fresh memory would cost more than what it is for."""

    def __init__(self) -> None:
        self.scratch = torch.empty(SCRATCH, dtype=torch.uint8, device="cpu")
        self.staging: dict[tuple[torch.dtype, bool], Tensor] = {}


_local = _Local()


def scratch() -> int:
    """The address of this thread's `layout.SCRATCH` bytes."""
    return _local.scratch.data_ptr()


def staging(n: int, dtype: torch.dtype, pinned: bool) -> Tensor:
    """N elements on the CPU, this thread's until it asks again."""
    kept = _local.staging.get((dtype, pinned))
    if kept is None or kept.numel() < n:
        kept = torch.empty(n, dtype=dtype, device="cpu", pin_memory=pinned)
        _local.staging[dtype, pinned] = kept
    return kept[:n]
