"""The initializers as classes: said in a config by their registered names, or called on a module.

Each is a name over one initializer of `initium.initializers`; `BaseInit` does the rest.
"""

from __future__ import annotations

from typing import Annotated

from typing_extensions import Unpack

from initium.functional.base import AtLeast0, BaseInit, Common
from initium.initializers import (
    Constant,
    Keep,
    Normal,
    TruncNormal,
    Uniform,
)
from initium.initializers.allowed import Allowed
from initium.initializers.declaration import Names
from initium.registry import WEIGHT_INITIALIZERS

Units = Annotated[str, Allowed(enum=["absolute", "sigma"])]


@WEIGHT_INITIALIZERS.register_module(name="Constant")
class ConstantInit(BaseInit):
    """Weights `val`, biases `bias`.

    Args:
        val: the value of every element.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Linear(1, 2))
    >>> ConstantInit(val=1, bias=2, layer="Linear")(model)
    >>> model[1].bias.tolist()
    [2.0, 2.0]
    """

    def __init__(self, val: float, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.initializer = Constant(val)
        self.val = self.initializer.val


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
        self.mean, self.std = self.initializer.mean, self.initializer.std


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
        drawn = self.initializer = TruncNormal(mean, std, a, b, units)
        self.mean, self.std, self.a, self.b = drawn.mean, drawn.std, drawn.a, drawn.b
        self.units = units

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
        self.a, self.b = self.initializer.a, self.initializer.b


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
