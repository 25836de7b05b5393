"""A twin of `torch.nn.init` on streams: the same names, arguments, defaults and return values.

Values are drawn from a counter-based stream on all cores, in float32 (float64 for float64
tensors), and rounded to the tensor's dtype. Each call takes a key of 64 bits from `generator`, or,
without one, from torch's default CPU generator: `torch.manual_seed` makes a program repeatable, two
calls differ, and the values do not depend on the number of threads, the strides or the device.

What differs from torch, and is meant to:

- half precisions work everywhere, `orthogonal_` included;
- `sparse_` obeys its generator in all that it draws;
- `trunc_normal_` neither rejects nor loops: any bounds cost the same, infinite ones are allowed, and
  a mean far outside of them is drawn rightly, so it does not warn;
- NaN, and a std below 0, are errors everywhere; a std of 0 gives the mean;
- errors are `InitError`s that are of torch's type as well, with words of their own.

A tensor on `meta` is returned as it is. Names without the underscore (`normal`), which torch has
deprecated, warn and work.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.init import calculate_gain as calculate_gain
from torch.nn.init import constant_ as constant_
from torch.nn.init import dirac_ as dirac_
from torch.nn.init import eye_ as eye_
from torch.nn.init import ones_ as ones_
from torch.nn.init import zeros_ as zeros_

from initium.errors import InitAssertionError
from initium.filling import Generator, as_number, check_given, fill_by
from initium.initializers import (
    Kaiming,
    Normal,
    Orthogonal,
    Sparse,
    TruncNormal,
    Uniform,
    Xavier,
)
from initium.shard import shape_of


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator = None) -> Tensor:
    """Fill with values from U[a, b); b itself is never drawn.

    >>> w = uniform_(torch.empty(3, 5), -1, 1)
    >>> bool((w >= -1).all() and (w < 1).all())
    True
    """
    return fill_by(tensor, Uniform(as_number(a), as_number(b)), generator)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator = None
) -> Tensor:
    """Fill with values from N(mean, std²).

    >>> normal_(torch.empty(3, 5), std=0.02).shape
    torch.Size([3, 5])
    """
    return fill_by(tensor, Normal(as_number(mean), as_number(std)), generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator = None,
) -> Tensor:
    """Fill with values from N(mean, std²) given that a <= w <= b.

    The bounds are values of the tensor, as in torch: with std=0.02 the default ones cut nothing.
    `initium.initializers.TruncNormal(units="sigma")` counts them in standard deviations.

    >>> bool(trunc_normal_(torch.empty(100), std=0.02, a=-0.04, b=0.04).abs().max() <= 0.04)
    True
    """
    return fill_by(tensor, TruncNormal(*map(as_number, (mean, std, a, b))), generator)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Uniform values of variance 2·gain²/(fan_in + fan_out) (Glorot and Bengio, 2010).

    The tensor is (fan_out, fan_in, *receptive field), as the weights of torch's layers are.

    >>> bool(xavier_uniform_(torch.empty(3, 5)).abs().max() <= (6 / 8) ** 0.5)
    True
    """
    return fill_by(tensor, Xavier(as_number(gain), "uniform"), generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Normal values of variance 2·gain²/(fan_in + fan_out) (Glorot and Bengio, 2010).

    >>> xavier_normal_(torch.empty(3, 5)).shape
    torch.Size([3, 5])
    """
    return fill_by(tensor, Xavier(as_number(gain), "normal"), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
) -> Tensor:
    """Uniform values of variance gain²/fan (He et al., 2015).

    Args:
        tensor: of shape (fan_out, fan_in, *receptive field); without elements, it warns.
        a: the negative slope, used where the nonlinearity is `'leaky_relu'`.
        mode: `'fan_in'` or `'fan_out'`.
        nonlinearity: a name that `calculate_gain` knows.
        generator: what the key is drawn from.

    >>> bool(kaiming_uniform_(torch.empty(3, 6), nonlinearity="relu").abs().max() <= 1)
    True
    """
    return _kaiming(tensor, a, mode, nonlinearity, "uniform", generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
) -> Tensor:
    """Normal values of variance gain²/fan (He et al., 2015); arguments as in `kaiming_uniform_`.

    >>> kaiming_normal_(torch.empty(3, 6), mode="fan_out").shape
    torch.Size([3, 6])
    """
    return _kaiming(tensor, a, mode, nonlinearity, "normal", generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator = None) -> Tensor:
    """Fill with a matrix of orthonormal columns, or rows where it is wide, times `gain`.

    Dimensions after the first are taken together (Saxe et al., 2014).

    >>> w = orthogonal_(torch.empty(3, 5))
    >>> torch.allclose(w @ w.T, torch.eye(3), atol=1e-6)
    True
    """
    return fill_by(tensor, Orthogonal(as_number(gain)), generator)


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator = None
) -> Tensor:
    """Fill a matrix from N(0, std²), with ceil(sparsity · rows) zeros in each column (Martens, 2010).

    >>> (sparse_(torch.empty(10, 3), sparsity=0.35) == 0).sum(dim=0).tolist()
    [4, 4, 4]
    """
    return fill_by(tensor, Sparse(as_number(sparsity), as_number(std)), generator)


def _kaiming(
    tensor: Tensor,
    a: float,
    mode: str,
    nonlinearity: str,
    distribution: str,
    generator: Generator,
) -> Tensor:
    check_given(tensor, generator)
    if 0 in shape_of(tensor):
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return tensor
    if not isinstance(mode, str):
        raise InitAssertionError(f"mode must be 'fan_in' or 'fan_out', but got {mode!r}")
    return fill_by(tensor, Kaiming(a, mode.lower(), nonlinearity, distribution), generator)


if not TYPE_CHECKING:  # for a type checker they are mistakes

    def __getattr__(name: str) -> Callable[..., Tensor]:
        """The deprecated names of torch, without the underscore."""
        function = globals().get(f"{name}_")
        if name.startswith("_") or function is None or not hasattr(torch.nn.init, name):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

        @functools.wraps(function)
        def renamed(*args: Any, **kwargs: Any) -> Tensor:
            message = f"{name} is deprecated, as in torch: say {name}_"
            warnings.warn(message, FutureWarning, stacklevel=2)
            return function(*args, **kwargs)

        return renamed
