"""What the functions of `init` end in: one tensor is looked at, and filled by an initializer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from initium.errors import InitRangeError, InitTypeError
from initium.initializers import Initializer, check_tensor
from initium.shard import shape_of
from initium.streams import has_memory
from initium.writing import fill_tensor

Generator = torch.Generator | None


def fill_by(tensor: Tensor, initializer: Initializer, generator: Generator) -> Tensor:
    """Fill a tensor, with a key that is drawn from `generator`, and return it."""
    check_given(tensor, generator)
    check_tensor(tensor, initializer)
    if generator is not None and has_memory(tensor) and generator.device != tensor.device:
        raise InitRangeError(
            f"the tensor is on {tensor.device}, but the generator on {generator.device}; "
            f"use torch.Generator({str(tensor.device)!r})"
        )
    if 0 not in shape_of(tensor):
        fill_tensor(tensor, initializer, generator)
    return tensor


def check_given(tensor: Tensor, generator: Generator) -> None:
    """Raise where a tensor cannot be drawn at all, or the generator is none."""
    if not isinstance(tensor, Tensor):
        hint = "; for a module there is initium.kaiming_init and the like"
        raise InitTypeError(
            f"tensor must be a torch.Tensor, but got {type(tensor).__name__}"
            f"{hint if isinstance(tensor, torch.nn.Module) else ''}"
        )
    if tensor.is_nested:
        raise InitRangeError("a nested tensor cannot be drawn; fill each of tensor.unbind()")
    if generator is not None and not hasattr(generator, "device"):
        raise InitTypeError(f"generator must be a torch.Generator, but got {generator!r}")


def as_number(number: Any) -> Any:
    """A number of NumPy, or a tensor of one, which torch takes as well, as Python's own."""
    return number.item() if getattr(number, "ndim", None) == 0 else number
