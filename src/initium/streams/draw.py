"""Filling one tensor from its own stream of torch's generator.

Values are drawn in float32 (float64 for float64 tensors) in row-major order of the logical shape
and then cast, so that neither strides nor a lower precision change them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from initium.streams.distributions import Distribution, Normal, TruncNormal, Uniform

CHUNK = 1 << 20  # elements drawn at a time: no temporary is larger than a few MiB


def fill(tensor: Tensor, key: int, distribution: Distribution) -> None:
    """Fill `tensor` in place with the values that belong to `key`."""
    generator = torch.Generator().manual_seed(key)
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    if tensor.device.type == "cpu" and tensor.is_contiguous() and tensor.dtype == dtype:
        flat = tensor.detach().view(-1)
        for start in range(0, flat.numel(), CHUNK):
            _draw(flat[start : start + CHUNK], generator, distribution)
        return
    values = torch.empty(tensor.shape, dtype=dtype, device="cpu")
    fill(values, key, distribution)
    tensor.copy_(_within(values.to(tensor.dtype), distribution))


def _draw(chunk: Tensor, generator: torch.Generator, distribution: Distribution) -> None:
    if isinstance(distribution, Normal):
        chunk.normal_(distribution.mean, distribution.std, generator=generator)
    elif isinstance(distribution, Uniform):
        chunk.uniform_(distribution.a, distribution.b, generator=generator)
    else:
        chunk.copy_(_truncated(chunk.numel(), generator, distribution))


def _truncated(n: int, generator: torch.Generator, wanted: TruncNormal) -> Tensor:
    """By inverse CDF in float64: no rejection loop, and no infinite value at the edges.

    Where the interval lies in the upper tail it is mirrored into the lower one, where the CDF
    keeps its digits.
    """
    if wanted.std == 0 or wanted.a == wanted.b:
        constant = wanted.mean if wanted.std == 0 else wanted.a
        return torch.full((n,), constant, dtype=torch.float64, device="cpu")
    low, high = ((edge - wanted.mean) / wanted.std for edge in (wanted.a, wanted.b))
    mirrored = low > 0
    if mirrored:
        low, high = -high, -low
    edges = torch.special.log_ndtr(torch.tensor([low, high], dtype=torch.float64, device="cpu"))
    if float(edges[1]) < -700:  # the CDF itself underflows this far out: its tail is exponential
        u = torch.rand(n, dtype=torch.float64, device="cpu", generator=generator)
        z = high + torch.log1p(u * math.expm1(max(high * (high - low), -700.0))) / -high
    else:
        p_low, p_high = edges.exp().tolist()
        u = torch.rand(n, dtype=torch.float64, device="cpu", generator=generator)
        # never 0 or 1, whose quantiles are infinite: a clamp would make them weights at the bounds
        p = (p_low + (p_high - p_low) * (u + 2.0**-54)).clamp_(max=1 - 2.0**-53)
        z = torch.special.ndtri(p)
    return (
        (z.neg_() if mirrored else z).mul_(wanted.std).add_(wanted.mean).clamp_(wanted.a, wanted.b)
    )


def _within(values: Tensor, distribution: Distribution) -> Tensor:
    """Undo a rounding to a lower precision that left the bounds, or reached the open one."""
    if isinstance(distribution, Normal) or distribution.a == distribution.b:
        return values
    low = _inner(distribution.a, values.dtype, 1)
    high = _inner(distribution.b, values.dtype, -1, open_=isinstance(distribution, Uniform))
    return values.double().clamp(low, high).to(values.dtype)


def _inner(bound: float, dtype: torch.dtype, direction: int, open_: bool = False) -> float:
    """A value of `dtype` next to `bound` that lies inside of it; with `open_`, not on it."""
    info = torch.finfo(dtype)
    # one unit in the last place; float8 has no nextafter
    step = math.ldexp(info.eps, math.frexp(max(abs(bound), info.smallest_normal))[1] - 1)
    rounded, inside = (
        torch.tensor(value, dtype=torch.float64, device="cpu").to(dtype).double().item()
        for value in (bound, bound + direction * step)
    )
    within = (rounded - bound) * direction
    return rounded if within > 0 or (within == 0 and not open_) else inside
