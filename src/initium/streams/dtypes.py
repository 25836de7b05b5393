"""The dtypes that can be drawn, and the values of each that lie within bounds."""

from __future__ import annotations

import math

import torch

from initium.errors import InitRangeError

# dtype -> the integers of its width, whose bits are sign and magnitude
_BITS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
    torch.float8_e4m3fn: torch.int8,
    torch.float8_e4m3fnuz: torch.int8,
    torch.float8_e5m2: torch.int8,
    torch.float8_e5m2fnuz: torch.int8,
}
DRAWN = tuple(_BITS)


def bounds_in(dtype: torch.dtype, a: float, b: float, below_b: bool = False) -> tuple[float, float]:
    """The least and the greatest value of `dtype` in [a, b]; with `below_b`, in [a, b).

    Rounding is monotone, so what lies between them stays between them in that dtype.

    Raises:
        InitRangeError: a RuntimeError; there is none.

    >>> bounds_in(torch.bfloat16, 0.1, 0.3)
    (0.10009765625, 0.298828125)
    """
    greatest = torch.finfo(dtype).max
    exists = a <= greatest and b >= -greatest
    if exists:
        low, high = _rounded(dtype, a), _rounded(dtype, b)
        if a == b and not below_b:
            return low, low
        if low < a:
            low = _next(dtype, low, 1)
        if high > b or (below_b and high == b):
            high = _next(dtype, high, -1)
        exists = low <= high
    if not exists:
        interval = f"[{a}, {b}{')' if below_b else ']'}"
        raise InitRangeError(
            f"{dtype} has no value in {interval}; widen it, or use a higher precision"
        )
    return low, high


def _rounded(dtype: torch.dtype, value: float) -> float:
    greatest = torch.finfo(dtype).max
    if math.isinf(value) and dtype.itemsize > 1:
        return value
    value = min(max(value, -greatest), greatest)
    return float(torch.tensor(value, dtype=torch.float64, device="cpu").to(dtype).double())


def _next(dtype: torch.dtype, value: float, direction: int) -> float:
    """The neighbour of a value of `dtype`, found by counting; float8 has no nextafter."""
    integers = _BITS[dtype]
    sign = torch.iinfo(integers).min
    bits = int(torch.tensor(value, dtype=torch.float64, device="cpu").to(dtype).view(integers))
    place = (sign - bits if bits < 0 else bits) + direction
    bits = place if place >= 0 else sign - place
    return float(torch.tensor(bits, dtype=integers, device="cpu").view(dtype).double())
