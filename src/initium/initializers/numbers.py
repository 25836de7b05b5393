"""Numbers among arguments: of whatever library they are, as Python's own; and within which limits."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

from initium.errors import InitRangeError, InitTypeError


def plain(value: Any) -> Any:
    """A number of NumPy, a tensor of no dimensions or a fraction as Python's own; all else as it is.

    A plan is data, and must be read by those who have no such library.

    >>> import numpy, torch
    >>> plain(numpy.float64(0.5)), plain(torch.tensor(3)), plain("3")
    (0.5, 3, '3')
    """
    if value is None or type(value) in (int, float, bool, str):
        return value
    if hasattr(value, "ndim"):
        one = value.ndim == 0 and not getattr(value, "is_meta", False)
        return value.item() if one else value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if hasattr(value, "__float__") else value


def is_number(value: object) -> bool:
    """Whether it is one of Python's numbers, which a bool is not meant to be."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(
    name: str,
    value: object,
    least: float = -math.inf,
    infinite: bool = False,
    most: float = math.inf,
) -> None:
    """Raise unless `value` is a finite number (a bool is none) that is at least `least`.

    Args:
        name: for messages.
        value: what was given.
        least: a lower bound.
        infinite: whether an infinite value goes, too.
        most: a bound on what it is without its sign.
    """
    if not is_number(value):
        raise InitTypeError(f"{name} must be a number, but got {value!r}")
    assert isinstance(value, (int, float))
    finite = is_finite(value) or (infinite and value in (-math.inf, math.inf))
    if not finite or value < least:
        allowed = "finite" if least == -math.inf else f"finite and at least {least:g}"
        raise InitRangeError(f"{name} must be {allowed}, but got {value!r}")
    if abs(value) > most:
        raise InitRangeError(f"{name} must lie from {-most:g} to {most:g}, but got {value!r}")


def is_finite(value: float) -> bool:
    """Whether a float can hold it, and is finite."""
    try:
        return math.isfinite(value)
    except OverflowError:  # an int of hundreds of digits
        return False
