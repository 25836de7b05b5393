"""Which tensors can get what an initializer draws."""

from __future__ import annotations

from torch import Tensor

from initium import streams
from initium.errors import InitRangeError
from initium.initializers.base import Initializer
from initium.tree import is_lazy


def check_tensor(tensor: Tensor, initializer: Initializer) -> None:
    """Raise an `InitError` where a tensor cannot get what the initializer draws for its shape."""
    if is_lazy(tensor):
        raise InitRangeError(
            "this lazy parameter has no shape yet; run the model once, then initialize"
        )
    drawn = initializer.draws(tuple(tensor.shape))
    if isinstance(drawn, (int, float)):
        streams.check_memory(tensor)
    elif drawn is not None:
        streams.check(tensor, drawn)
