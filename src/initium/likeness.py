"""Whether values look like what was to be written: the same, within bounds, of the right spread."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from initium.digest import digest_of, same_bits
from initium.initializers import Chain
from initium.streams import Distribution, Normal, TruncNormal, Uniform
from initium.writes import Capture, Fill

# Standard errors that a mean or a spread may be off: in 1e9 tensors, about one is.
SIGMAS = 6.0


def problems_of(values: Tensor, write: Fill | Capture) -> Iterator[str]:
    """What speaks against these values being those of a write."""
    if isinstance(write, Capture):
        if not _as_captured(values, write):
            yield f"it is not what {write.source} computed"
    elif not write.initializer.random:
        yield from _not_constant(values, write)
    else:
        yield from not_finite(values)
        if values.numel() and not isinstance(write.initializer, Chain):
            drawn = write.initializer.draws(tuple(values.shape) or (1,))
            if isinstance(drawn, Distribution):
                yield from _not_drawn(values, drawn)


def _as_captured(values: Tensor, write: Capture) -> bool:
    captured = write.values
    if captured is not None and not captured.is_meta and captured.dtype != values.dtype:
        return same_bits(values, captured.to(values))  # rounded, for a model of another dtype
    return not write.digest or write.digest == digest_of(values)


def not_finite(values: Tensor) -> Iterator[str]:
    """That some values are NaN or infinite."""
    if values.is_floating_point() or values.is_complex():
        bad = int((~torch.isfinite(values.float() if values.element_size() == 1 else values)).sum())
        if bad:
            yield f"{bad} values are NaN or infinite"


def _not_constant(values: Tensor, write: Fill) -> Iterator[str]:
    wanted = write.initializer.draws(tuple(values.shape))
    if wanted is None:
        return
    expected = torch.full_like(values, wanted)  # type: ignore[arg-type]  # a number
    wide = torch.complex128 if values.is_complex() else torch.float64
    if not torch.allclose(values.to(wide), expected.to(wide), rtol=0, atol=0, equal_nan=True):
        yield f"not every value is {wanted}"


def _not_drawn(values: Tensor, drawn: Distribution) -> Iterator[str]:
    n, values = values.numel(), values.double()
    precision = torch.finfo(values.dtype).eps
    low, high, mean = _bounds(drawn)
    if (values.min() < low - precision * abs(low)) or (values.max() > high + precision * abs(high)):
        yield f"a value lies outside of [{low}, {high}]"
    std = drawn.std_of_values()
    if n < 2 or mean is None:
        return
    error = SIGMAS * std / math.sqrt(n)
    got = values.mean().item(), values.std().item()
    if abs(got[0] - mean) > error + 1e-3 * std:
        yield f"its mean is {got[0]:.4g}, but should be {mean:.4g} ± {error:.2g}"
    # of these distributions the normal one has the largest fourth moment: 3 std⁴
    spread = SIGMAS * std / math.sqrt(2 * (n - 1)) * (2 if n < 100 else 1.1)
    if abs(got[1] - std) > spread + 4e-3 * std:  # which rounding to bfloat16 may add
        yield f"its standard deviation is {got[1]:.4g}, but should be {std:.4g} ± {spread:.2g}"


def _bounds(drawn: Distribution) -> tuple[float, float, float | None]:
    """(lowest, highest, mean) of the values; the mean of a lopsided distribution is not known."""
    if isinstance(drawn, Normal):
        reach = 9 * drawn.std  # what the streams can give
        return drawn.mean - reach, drawn.mean + reach, drawn.mean
    if isinstance(drawn, Uniform):
        return drawn.a, drawn.b, (drawn.a + drawn.b) / 2
    assert isinstance(drawn, TruncNormal)
    even = math.isclose(drawn.a + drawn.b, 2 * drawn.mean, abs_tol=1e-9 * abs(drawn.std))
    return drawn.a, drawn.b, drawn.mean if even else None
