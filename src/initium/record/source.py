"""The line of code that a recorded operation comes from."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

_TORCH = str(Path(torch.__file__).parent) + os.sep
_LAYERS = os.path.join(_TORCH, "nn", "modules")  # noqa: PTH118 (to be compared with file names)
_INITIUM = str(Path(__file__).parents[1]) + os.sep
_INNER, _HELPER, _LAYER, _OUTER = range(4)


def source() -> str:
    """Who is writing: the first frame outside of torch and this package.

    A helper that is named as torch's in-place functions are (`trunc_normal_`) is passed over, too:
    its caller says more. Where a layer of torch writes its own tensors, that is said.

    >>> source()
    '<module>, <doctest ...>:1'
    """
    frame: FrameType | None = sys._getframe(1)
    layer = helper = None
    while frame is not None:
        kind = _kind(frame.f_code)
        if kind == _OUTER:
            return _text(frame.f_code, frame.f_lineno, _class_of(layer))
        if kind == _LAYER:
            layer = frame
        elif kind == _HELPER:
            helper = helper or frame
        frame = frame.f_back
    return _text(helper.f_code, helper.f_lineno, "") if helper else "unknown code"


@lru_cache(maxsize=4096)
def _kind(code: CodeType) -> int:
    name, file = code.co_name, code.co_filename
    if name == "__init__" and file.startswith(_LAYERS):
        return _LAYER
    if file.startswith((_TORCH, _INITIUM, "<frozen")):
        return _INNER
    return _HELPER if name.endswith("_") and not name.endswith("__") else _OUTER


def _class_of(constructor: FrameType | None) -> str:
    owner: Any = constructor.f_locals.get("self") if constructor else None
    return type(owner).__name__ if isinstance(owner, torch.nn.Module) else ""


@lru_cache(maxsize=65536)
def _text(code: CodeType, line: int, layer: str) -> str:
    name = getattr(code, "co_qualname", code.co_name).replace(".<locals>", "")
    start = f"constructor of {layer}, in {name}" if layer else name
    file = code.co_filename
    return f"{start}, {file if file.startswith('<') else Path(file).name}:{line}"
