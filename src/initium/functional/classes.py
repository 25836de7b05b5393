"""The initializers as classes: said in a config by their registered names, or called on a module.

Each is a name over one initializer of `initium.initializers`; `BaseInit` does the rest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, TypedDict

from torch import nn
from typing_extensions import Unpack

from initium.apply import start
from initium.initializers import (
    Caffe2Xavier,
    Constant,
    Declaration,
    Kaiming,
    Keep,
    Normal,
    TruncNormal,
    Uniform,
    VarianceScaling,
    Xavier,
)
from initium.initializers.allowed import Allowed
from initium.initializers.declaration import Layers, Names
from initium.initializers.variance import AnyMode, Mode, Nonlinearity, Shaped
from initium.planning import plan_config
from initium.registry import WEIGHT_INITIALIZERS

AtLeast0 = Annotated[float, Allowed(minimum=0)]
Units = Annotated[str, Allowed(enum=["absolute", "sigma"])]


class Common(TypedDict, total=False):
    """The arguments that every initializer for layers takes (see `BaseInit`)."""

    bias: float
    bias_prob: float | None
    layer: Layers
    name: Names


class BaseInit(Declaration):
    """Base of the initializers for layers, ours and yours.

    A subclass either sets `self.initializer`, and is planned; or defines `__call__(module)`, and
    runs as user code in its place.

    Args:
        bias: what every bias of a matched layer is set to.
        bias_prob: in place of `bias`, the probability that a sigmoid of the bias shall give.
        layer: a module class, its name or dotted name, or a list of these: layers of that class
            or of one derived from it.
        name: a pattern on dotted tensor names, or a list (see `initium.selectors`); what it
            matches gets the initializer itself, be it a weight, a bias or a tensor of your own.

    Raises:
        InitTypeError: a TypeError; an argument of another type, or an unknown one.

    >>> class Ones(BaseInit):
    ...     def __init__(self, **common):
    ...         super().__init__(**common)
    ...         self.initializer = Constant(1)
    >>> model = nn.Linear(1, 1)
    >>> Ones(layer="Linear")(model)
    >>> model.weight.item()
    1.0
    """

    def __call__(self, module: nn.Module) -> None:
        """Initialise the tensors of `module`, and of all below it, that this means."""
        plan, tree = plan_config(module, self)
        if not any(True for _ in module.children()):
            # model.apply(init) calls it on every single layer: that other classes are not
            # there is no finding
            plan = replace(plan, findings=())
        start(plan, module, tree)

    def declares(self) -> bool:
        """Whether this is all data: a subclass that defines its own `__call__` is user code."""
        return type(self).__call__ is BaseInit.__call__

    def info(self) -> str:
        """What the log says of a tensor that got this."""
        return self._get_init_info()

    def _get_init_info(self) -> str:
        # MMEngine's name, which initializers written for it override
        if not hasattr(self, "initializer"):
            return super().info()
        shown = (f"{name}={value}" for name, value in self._shown().items())
        return f"{type(self).__name__}: {', '.join([*shown, f'bias={self.bias}'])}"

    def _shown(self) -> dict[str, object]:
        data = self.initializer.to_dict()
        return {name: value for name, value in data.items() if name != "type"}


@WEIGHT_INITIALIZERS.register_module(name="Constant")
class ConstantInit(BaseInit):
    """Weights `val`, biases `bias`.

    Args:
        val: the value of every element.

    >>> model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Linear(1, 2))
    >>> ConstantInit(val=1, bias=2, layer="Linear")(model)
    >>> model[1].bias.tolist()
    [2.0, 2.0]
    """

    def __init__(self, val: float, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.initializer = Constant(val)
        self.val = val


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
        self.gain, self.distribution = gain, distribution


@WEIGHT_INITIALIZERS.register_module(name="Normal")
class NormalInit(BaseInit):
    """Weights from N(mean, std²).

    Args:
        mean: of the normal distribution.
        std: of the normal distribution.

    >>> NormalInit(std=0.01, layer="Conv2d").info()
    'NormalInit: mean=0, std=0.01, bias=0'
    """

    def __init__(self, mean: float = 0, std: AtLeast0 = 1, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.initializer = Normal(mean, std)
        self.mean, self.std = mean, std


@WEIGHT_INITIALIZERS.register_module(name="TruncNormal")
class TruncNormalInit(BaseInit):
    """Weights from N(mean, std²) given that they lie in [a, b].

    Args:
        mean: of the normal distribution before it is cut.
        std: of the normal distribution before it is cut.
        a: the lower bound, a value of the tensor.
        b: the upper bound, a value of the tensor.
        units: of a and b: `'absolute'`, or `'sigma'`: standard deviations from the mean.

    >>> TruncNormalInit(std=0.02, units="sigma", layer="Linear").initializer.bounds()
    (-0.04, 0.04)
    """

    def __init__(
        self,
        mean: float = 0,
        std: AtLeast0 = 1,
        a: float = -2,
        b: float = 2,
        units: Units = "absolute",
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.initializer: TruncNormal = TruncNormal(mean, std, a, b, units)
        self.mean, self.std, self.a, self.b, self.units = mean, std, a, b, units

    def _shown(self) -> dict[str, object]:
        shown: dict[str, object] = {"a": self.a, "b": self.b, "mean": self.mean, "std": self.std}
        return shown if self.units == "absolute" else {**shown, "units": self.units}


@WEIGHT_INITIALIZERS.register_module(name="Uniform")
class UniformInit(BaseInit):
    """Weights from U[a, b).

    Args:
        a: the least value.
        b: the upper bound, which is never drawn.

    >>> UniformInit(a=-1, layer="Linear").info()
    'UniformInit: a=-1, b=1, bias=0'
    """

    def __init__(self, a: float = 0, b: float = 1, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.initializer = Uniform(a, b)
        self.a, self.b = a, b


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
        self.a, self.mode = a, mode
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
        self.scale, self.mode = scale, mode
        self.distribution, self.exponent = distribution, exponent


@WEIGHT_INITIALIZERS.register_module(name="Keep")
class KeepInit(BaseInit):
    """Leave the tensors that `name=` matches as they are, and say so in the plan.

    Only by name: a bias of a kept layer would need a name, too.

    Args:
        name: a pattern on dotted tensor names, or a list (see `initium.selectors`).

    >>> KeepInit(name="backbone.**").info()
    'KeepInit'
    """

    def __init__(self, name: Names) -> None:
        super().__init__(name=name)
        self.initializer = Keep()

    def _get_init_info(self) -> str:
        return "KeepInit"
