"""The initializers whose variance goes by the fans of a tensor, as classes."""

from __future__ import annotations

from typing_extensions import Unpack

from initium.functional.base import AtLeast0, BaseInit, Common
from initium.initializers import (
    Caffe2Xavier,
    Kaiming,
    VarianceScaling,
    Xavier,
)
from initium.initializers.variance import AnyMode, Mode, Nonlinearity, Shaped
from initium.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module(name="Xavier")
class XavierInit(BaseInit):
    """Weights of variance 2 · gain² / (fan_in + fan_out) (Glorot and Bengio, 2010).

    Args:
        gain: a factor on the standard deviation.
        distribution: `'normal'` or `'uniform'`.

    >>> XavierInit(gain=2, layer="Linear").info()
    'XavierInit: gain=2, distribution=normal, bias=0'
    """

    def __init__(
        self, gain: float = 1, distribution: Shaped = "normal", **common: Unpack[Common]
    ) -> None:
        super().__init__(**common)
        self.initializer = Xavier(gain, distribution)
        self.gain, self.distribution = self.initializer.gain, distribution


@WEIGHT_INITIALIZERS.register_module(name="Kaiming")
class KaimingInit(BaseInit):
    """Weights of variance gain² / fan (He et al., 2015).

    Args:
        a: the negative slope, used where the nonlinearity is `'leaky_relu'`.
        mode: `'fan_in'` or `'fan_out'`, of the weight's own shape.
        nonlinearity: a name that `torch.nn.init.calculate_gain` knows.
        distribution: `'normal'` or `'uniform'`.

    >>> KaimingInit(layer="Conv2d").initializer.resulting_std([2, 3, 1, 1])
    1.0
    """

    def __init__(
        self,
        a: float = 0,
        mode: Mode = "fan_out",
        nonlinearity: Nonlinearity = "relu",
        distribution: Shaped = "normal",
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.initializer = Kaiming(a, mode, nonlinearity, distribution)
        self.a, self.mode = self.initializer.a, mode
        self.nonlinearity, self.distribution = nonlinearity, distribution

    def _shown(self) -> dict[str, object]:
        # MMEngine writes "distribution =", and people's scripts read its logs
        return {
            "distribution " if k == "distribution" else k: v for k, v in super()._shown().items()
        }


@WEIGHT_INITIALIZERS.register_module(name="Caffe2Xavier")
class Caffe2XavierInit(BaseInit):
    """Weights of variance 1 / fan_in: Caffe2's XavierFill, which is Kaiming with a=1 and fan_in.

    Args:
        distribution: `'uniform'`, as Caffe2 draws it, or `'normal'`.

    >>> Caffe2XavierInit(layer="Conv2d").info()
    'Caffe2XavierInit: a=1, mode=fan_in, nonlinearity=leaky_relu, distribution =uniform, bias=0'
    """

    def __init__(self, distribution: Shaped = "uniform", **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.initializer = Caffe2Xavier(distribution)
        self.distribution = distribution

    def _shown(self) -> dict[str, object]:
        kaiming = {"a": 1, "mode": "fan_in", "nonlinearity": "leaky_relu"}
        return {**kaiming, "distribution ": self.distribution}


@WEIGHT_INITIALIZERS.register_module(name="VarianceScaling")
class VarianceScalingInit(BaseInit):
    """Weights of variance scale / fanᵉ, e being the exponent; Xavier and Kaiming are cases of it.

    Args:
        scale: the variance for a fan of 1.
        mode: `'fan_in'`, `'fan_out'`, or `'fan_avg'`, the mean of both.
        distribution: `'normal'` or `'uniform'`.
        exponent: of the fan; 2 is the output layer of muP.

    >>> VarianceScalingInit(scale=2, layer="Linear").initializer.resulting_std([7, 50])
    0.2
    """

    def __init__(
        self,
        scale: AtLeast0 = 1,
        mode: AnyMode = "fan_in",
        distribution: Shaped = "normal",
        exponent: float = 1,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.initializer = VarianceScaling(scale, mode, distribution, exponent)
        self.scale, self.mode = self.initializer.scale, mode
        self.distribution, self.exponent = distribution, self.initializer.exponent
