"""Checks of what presets are given."""

from __future__ import annotations

from typing import Annotated

from initium.errors import InitError, InitTypeError
from initium.initializers.allowed import Allowed

Count = Annotated[int, Allowed(minimum=1)]
Std = Annotated[float, Allowed(minimum=0)]


def count(name: str, value: object) -> None:
    """Raise unless `value` is an int from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InitTypeError(f"{name} must be an int from 1, but got {value!r}")


def flag(name: str, value: object) -> None:
    """Raise unless `value` is a bool."""
    if not isinstance(value, bool):
        raise InitTypeError(f"{name} must be true or false, but got {value!r}")


def words(name: str, value: object) -> None:
    """Raise unless `value` is a str or a list of them."""
    if not all(
        isinstance(v, str) for v in (value if isinstance(value, (list, tuple)) else [value])
    ):
        raise InitTypeError(f"{name} must be a str or a list of them, but got {value!r}")


def among(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise unless `value` is one of `allowed`."""
    if value not in allowed:
        raise InitError(f"{name} must be one of {', '.join(map(str, allowed))}, but got {value!r}")
