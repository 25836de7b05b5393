"""Functions of torch that are replaced while a recorder is on, since dispatch cannot see them.

The replacements ask for the recorder of their own thread, and do what torch does where there is
none: other threads are not affected.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import torch
import torch.utils.dlpack
from torch import Tensor
from torch.nn.utils.parametrize import ParametrizationList

from initium.here import recorder_here
from initium.initializers import TruncNormal
from initium.record.random import is_default

_LOCK = threading.Lock()
_USERS = 0  # how many recorders are on, in all threads
_ORIGINALS: dict[tuple[Any, str], Any] = {}


@contextmanager
def applied(compiled: Callable[[], None]) -> Iterator[None]:
    """Have the replacements in place; several threads may.

    `compiled` is told when `torch.compile` was called.
    """
    global _USERS
    with _LOCK:
        _USERS += 1
        if _USERS == 1:
            _apply(compiled)
    try:
        yield
    finally:
        with _LOCK:
            _USERS -= 1
            if _USERS == 0:
                while _ORIGINALS:
                    (module, name), original = _ORIGINALS.popitem()
                    setattr(module, name, original)


def _apply(compiled: Callable[[], None]) -> None:
    # trunc_normal_ draws again and again until every value lies within its bounds, which it asks
    # the values; whoever holds a reference to it reaches this function through it
    _replace(torch.nn.init, "_no_grad_trunc_normal_", _trunc_normal_)
    _replace(torch.utils.dlpack, "to_dlpack", _to_dlpack)
    _replace(ParametrizationList, "forward", _forward)
    _replace(torch, "compile", partial(_compile, compiled))


def _replace(module: Any, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(module, name, None)
    if original is not None:
        _ORIGINALS[module, name] = original
        setattr(module, name, make(original))


def _trunc_normal_(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def trunc_normal_(
        tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any = None
    ) -> Tensor:
        recorder = recorder_here()
        if recorder is not None and is_default(generator):

            def run() -> Tensor:
                return original(tensor, mean, std, a, b, generator)

            if recorder.note_call(tensor, lambda: TruncNormal(mean, std, a, b), run):
                return tensor
        return original(tensor, mean, std, a, b, generator)

    return trunc_normal_


def _forward(original: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    def forward(self: ParametrizationList) -> Tensor:
        values = original(self)
        recorder = recorder_here()
        if recorder is not None:
            recorder.computed(values, self)
        return values

    return forward


def _compile(compiled: Callable[[], None], original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def compile(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        compiled()
        return result

    return compile


def _to_dlpack(original: Callable[..., Any]) -> Callable[..., Any]:
    def to_dlpack(tensor: Tensor) -> Any:
        recorder = recorder_here()
        if recorder is not None:
            recorder.escape(tensor, "DLPack")
        return original(tensor)

    return to_dlpack
