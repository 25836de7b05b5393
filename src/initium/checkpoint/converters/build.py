"""Declared converters -> converters."""

from __future__ import annotations

from typing import Any

from initium.checkpoint.converters.base import CHECKPOINT_CONVERTERS, Converter
from initium.checkpoint.converters.names import Rename
from initium.errors import InitTypeError


def build_converters(convert: Any, rename: Any = ()) -> tuple[Converter, ...]:
    """The converters that `rename=` and `convert=` declare: renames first.

    Raises:
        InitError: a pair, config or pattern that is none.
    """
    if not isinstance(rename, (list, tuple)) or not all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in rename
    ):
        raise InitTypeError(f"rename must be a list of (pattern, replacement), but got {rename!r}")
    renames = (Rename(*pair) for pair in rename)
    return (*renames, *CHECKPOINT_CONVERTERS.build_list("convert", convert, Converter))
