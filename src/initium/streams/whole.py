"""Values that need the whole tensor: they cannot be drawn element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@contextmanager
def one_thread() -> Iterator[None]:
    """The last bits of sums and decompositions depend on how many threads share them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Whole:
    """A tensor that is computed as one.

    Attributes:
        values: (key, float32 or float64) -> the tensor on the CPU.
        by_torch: (tensor, generator) -> fills it with torch's own function.
        std: the standard deviation of the values.
    """

    values: Callable[[int, torch.dtype], Tensor]
    by_torch: Callable[[Tensor, torch.Generator | None], Any]
    std: float

    def std_of_values(self) -> float:
        """The standard deviation of the values."""
        return self.std
