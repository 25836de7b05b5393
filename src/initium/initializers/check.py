"""Which tensors can get what an initializer draws."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from initium import streams
from initium.errors import InitError, InitRangeError
from initium.initializers.base import Initializer
from initium.initializers.chain import Chain
from initium.initializers.simple import Keep
from initium.shard import check_held, shape_of
from initium.tree import is_lazy


def check_tensor(tensor: Tensor, initializer: Initializer) -> None:
    """Raise an `InitError` where a tensor cannot get what the initializer draws for its shape."""
    if is_lazy(tensor):
        raise InitRangeError(
            "this lazy parameter has no shape yet; run the model once, then initialize"
        )
    if not isinstance(initializer, Keep):
        check_held(tensor)
    check = _known if _hashable(initializer) else _check
    check(initializer, shape_of(tensor), tensor.dtype)


def _hashable(initializer: Initializer) -> bool:
    try:
        hash(initializer)
    except TypeError:  # a user's, with a list among its arguments
        return False
    return True


def _check(initializer: Initializer, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    drawn = initializer.draws(shape)
    if isinstance(drawn, (int, float)):
        _check_constant(drawn, dtype)
    elif drawn is not None:
        streams.check_dtype(dtype, drawn)
    if isinstance(initializer, Chain):
        _check_chain(initializer, dtype)


def _check_chain(chain: Chain, dtype: torch.dtype) -> None:
    try:
        chain.finish(torch.zeros(1, dtype=dtype, device="cpu"))
    except (RuntimeError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise InitError(f"{chain} cannot be computed in {dtype}: {error}") from error


def _check_constant(value: float, dtype: torch.dtype) -> None:
    try:  # of one element, torch would make an infinite value
        torch.empty(2, dtype=dtype, device="cpu").fill_(value)
    except (RuntimeError, OverflowError) as error:
        raise InitRangeError(f"a tensor of {dtype} cannot hold {value!r}: {error}") from error


# networks have many tensors of few shapes
_known = lru_cache(maxsize=4096)(_check)
