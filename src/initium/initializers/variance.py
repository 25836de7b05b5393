"""Variance scaling: the spread of the values follows from the tensor's fans.

One core, `variance_scaling`; Xavier, Kaiming and Caffe2Xavier are names for its arguments, and
`VarianceScaling` takes them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, cast

import torch

from initium import streams
from initium.errors import InitError
from initium.initializers.allowed import Allowed
from initium.initializers.base import Initializer, Shape, number, one_of

NONLINEARITIES = (
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu",
)  # fmt: skip
Nonlinearity = Annotated[str, Allowed(enum=list(NONLINEARITIES))]
Shaped = Annotated[str, Allowed(enum=["normal", "uniform"])]
Mode = Annotated[str, Allowed(enum=["fan_in", "fan_out"])]
AnyMode = Annotated[str, Allowed(enum=["fan_in", "fan_out", "fan_avg"])]
# a float holds the square of the one, and this power of any fan
_MOST_SQUARED, _MOST_EXPONENT = 1e150, 16


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape (out, in, *receptive field), as torch counts them.

    fan_in = in · prod(receptive field), fan_out = out · prod(receptive field): the convention of
    `nn.Linear` and the convolutions. The weight of a transposed convolution is (in, out, …), so
    its two fans are exchanged, as in torch; a group of a grouped convolution counts as it lies.

    Raises:
        InitError: the shape has fewer than two dimensions.

    >>> fans([16, 3, 5, 5])
    (75, 400)
    """
    if len(shape) < 2:
        raise InitError(
            f"fan_in and fan_out need a tensor of at least 2 dimensions, but its shape is "
            f"{list(shape)}; use Constant, Normal, Uniform or TruncNormal for it"
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def variance_scaling(
    shape: Shape, scale: float, mode: str, distribution: str, exponent: float = 1
) -> streams.Distribution:
    """The distribution of mean 0 and variance scale / nᵉ, n being the fan that `mode` names."""
    fan_in, fan_out = fans(shape)
    n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    std = math.sqrt(scale / n**exponent) if n else 0.0  # a fan of 0: the tensor has no elements
    if distribution == "normal":
        return streams.Normal(0.0, std)
    return streams.Uniform(-math.sqrt(3) * std, math.sqrt(3) * std)


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Mean 0 and variance scale / fanᵉ, e being the exponent.

    Args:
        scale: the variance for a fan of 1.
        mode: `'fan_in'`, `'fan_out'`, or `'fan_avg'`, the mean of both.
        distribution: `'normal'` or `'uniform'`.
        exponent: of the fan: 1 keeps the spread of sums of independent terms, 2 that of sums
            whose terms are alike (the output layer of muP), 0 leaves the fan out.

    >>> VarianceScaling(scale=4, exponent=2).resulting_std([10, 50])
    0.04
    """

    scale: float = 1
    mode: str = "fan_in"
    distribution: str = "normal"
    exponent: float = 1
    formula: ClassVar[str] = "var(w) = scale / fan^exponent"
    reference: ClassVar[str] = "the schemes of Glorot, He and LeCun (Efficient BackProp, 1998)"

    def __post_init__(self) -> None:
        super().__post_init__()
        number("scale", self.scale, least=0)
        one_of("mode", self.mode, "fan_in", "fan_out", "fan_avg")
        one_of("distribution", self.distribution, "normal", "uniform")
        number("exponent", self.exponent, most=_MOST_EXPONENT)

    def draws(self, shape: Shape) -> streams.Distribution:
        """The core itself."""
        return variance_scaling(shape, self.scale, self.mode, self.distribution, self.exponent)


@dataclass(frozen=True)
class Xavier(Initializer):
    """Mean 0 and variance 2 · gain² / (fan_in + fan_out).

    Args:
        gain: a factor on the standard deviation.
        distribution: `'normal'` or `'uniform'`.

    >>> round(Xavier().resulting_std([300, 200]), 5)
    0.06325
    """

    gain: float = 1
    distribution: str = "normal"
    formula: ClassVar[str] = "var(w) = 2 · gain² / (fan_in + fan_out)"
    reference: ClassVar[str] = (
        "Glorot and Bengio, Understanding the difficulty of training deep feedforward neural "
        "networks, AISTATS 2010"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        number("gain", self.gain, most=_MOST_SQUARED)
        one_of("distribution", self.distribution, "normal", "uniform")

    def draws(self, shape: Shape) -> streams.Distribution:
        """Scale gain² over the mean of the two fans."""
        return variance_scaling(shape, self.gain**2, "fan_avg", self.distribution)


@dataclass(frozen=True)
class Kaiming(Initializer):
    """Mean 0 and variance gain² / fan, the gain being that of the nonlinearity.

    Args:
        a: the negative slope, used where the nonlinearity is `'leaky_relu'`.
        mode: `'fan_in'` keeps the variance of activations, `'fan_out'` that of gradients.
        nonlinearity: a name that `torch.nn.init.calculate_gain` knows.
        distribution: `'normal'` or `'uniform'`.

    >>> Kaiming(mode="fan_in").resulting_std([10, 50])
    0.2
    """

    a: float = 0
    mode: str = "fan_out"
    nonlinearity: str = "relu"
    distribution: str = "normal"
    formula: ClassVar[str] = "var(w) = gain(nonlinearity, a)² / fan"
    reference: ClassVar[str] = "He et al., Delving deep into rectifiers, ICCV 2015"

    def __post_init__(self) -> None:
        super().__post_init__()
        number("a", self.a, most=_MOST_SQUARED)
        one_of("mode", self.mode, "fan_in", "fan_out")
        one_of("nonlinearity", self.nonlinearity, *NONLINEARITIES)
        one_of("distribution", self.distribution, "normal", "uniform")

    def draws(self, shape: Shape) -> streams.Distribution:
        """Scale gain² over the fan that `mode` names."""
        gain = torch.nn.init.calculate_gain(cast(Any, self.nonlinearity), self.a)
        return variance_scaling(shape, gain**2, self.mode, self.distribution)


@dataclass(frozen=True)
class Caffe2Xavier(Initializer):
    """Mean 0 and variance 1 / fan_in: Caffe2's XavierFill, which is no Xavier scheme.

    It is Kaiming with a=1, mode='fan_in', nonlinearity='leaky_relu', whose gain is 1.

    Args:
        distribution: `'uniform'`, as Caffe2 and MMEngine's code draw it; `'normal'`, as a table
            of MMEngine's guide has it.

    >>> Caffe2Xavier().resulting_std([10, 25])
    0.2
    """

    distribution: str = "uniform"
    formula: ClassVar[str] = "var(w) = 1 / fan_in"
    reference: ClassVar[str] = "XavierFill of Caffe2's filler operators"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("distribution", self.distribution, "normal", "uniform")

    def draws(self, shape: Shape) -> streams.Distribution:
        """Scale 1 over fan_in."""
        return variance_scaling(shape, 1.0, "fan_in", self.distribution)
