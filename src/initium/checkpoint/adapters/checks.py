"""Checks of the arguments of adapters."""

from __future__ import annotations

import math
from typing import Any

from initium.errors import InitError, InitTypeError, did_you_mean


def one_of(name: str, value: object, *allowed: str) -> None:
    """Raise an `InitError` unless `value` is one of `allowed`."""
    if value not in allowed:
        near = did_you_mean(value, allowed) if isinstance(value, str) else ""
        raise InitError(
            f"{name} must be {' or '.join(map(repr, allowed))}, but got {value!r}.{near}"
        )


def a_bool(name: str, value: object) -> None:
    """Raise an `InitTypeError` unless `value` is a bool."""
    if not isinstance(value, bool):
        raise InitTypeError(f"{name} must be True or False, but got {value!r}")


def whole(name: str, value: object, least: int) -> None:
    """Raise an `InitError` unless `value` is an int of at least `least` (a bool is none)."""
    if not is_int(value):
        raise InitTypeError(f"{name} must be an int, but got {value!r}")
    if value < least:  # type: ignore[operator]
        raise InitError(f"{name} must be at least {least}, but got {value!r}")


def finite(name: str, value: object, least: float) -> None:
    """Raise an `InitError` unless `value` is a finite number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InitTypeError(f"{name} must be a number, but got {value!r}")
    if not math.isfinite(value) or value < least:
        raise InitError(f"{name} must be finite and at least {least:g}, but got {value!r}")


def is_int(value: object) -> bool:
    """Whether it is an int; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def keep_tuple(adapter: Any, name: str) -> None:
    """Make a list that a frozen dataclass was given a tuple, so that equal ones are equal."""
    value = getattr(adapter, name)
    if isinstance(value, (list, range)):
        object.__setattr__(adapter, name, tuple(value))
