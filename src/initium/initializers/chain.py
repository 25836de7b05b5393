"""Elementwise arithmetic on top of an initializer: `randn(...) * 0.02`, `uniform_().mul_(2).exp_()`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from initium.errors import InitError, InitTypeError
from initium.initializers.base import Drawn, Initializer, Shape, initializer_from_dict
from initium.initializers.simple import Constant, Normal, TruncNormal, Uniform

Number = bool | int | float
# (name of the operation in torch, its scalar arguments)
Step = tuple[str, tuple[Number | None, ...]]

# operations whose every element depends on that element alone, and on scalars
POINTWISE = frozenset((
    "abs", "add", "ceil", "clamp", "clamp_max", "clamp_min", "cos", "div", "erf", "erfinv", "exp",
    "exp2", "expm1", "floor", "log", "log10", "log1p", "log2", "mul", "neg", "pow", "reciprocal",
    "relu", "round", "rsqrt", "rsub", "sigmoid", "sign", "sin", "sqrt", "square", "sub", "tanh",
))  # fmt: skip


@dataclass(frozen=True)
class Chain(Initializer):
    """The values of another initializer, then elementwise operations of torch, one by one.

    Args:
        base: how the values are drawn at first.
        steps: (name, scalar arguments) of each operation: `("clamp", (-2.0, 2.0))`.

    >>> print(Chain(Normal(std=2), (("exp", ()), ("clamp", (None, 5.0)))))
    Normal(mean=0, std=2).exp().clamp(None, 5.0)
    """

    base: Initializer
    steps: tuple[Step, ...]
    formula: ClassVar[str] = "w = steps(base)"

    def __post_init__(self) -> None:
        if isinstance(self.base, dict):  # from a plan's file
            object.__setattr__(self, "base", initializer_from_dict(self.base))
        if not isinstance(self.base, Initializer):
            raise InitTypeError(f"base must be an initializer, but got {self.base!r}")
        steps = tuple((name, tuple(arguments)) for name, arguments in self.steps)
        object.__setattr__(self, "steps", steps)
        for name, _ in steps:
            if name not in POINTWISE:
                raise InitError(
                    f"{name!r} is no elementwise operation; allowed: {', '.join(sorted(POINTWISE))}"
                )

    def draws(self, shape: Shape) -> Drawn:
        """What the base draws; `finish` does the rest."""
        return self.base.draws(shape)

    def resulting_std(self, shape: Shape) -> None:
        """Not known in closed form."""

    def finish(self, tensor: Tensor) -> None:
        """Carry the steps out, in place, on what the base has drawn."""
        for name, arguments in self.steps:
            run(name, tensor, arguments, in_place=True)

    def to_dict(self) -> dict[str, Any]:
        """The initializer as data: its base and steps."""
        steps = [[name, list(arguments)] for name, arguments in self.steps]
        return {"type": "Chain", "base": self.base.to_dict(), "steps": steps}

    def __str__(self) -> str:
        steps = (f".{name}({', '.join(map(repr, args))})" for name, args in self.steps)
        return f"{self.base}{''.join(steps)}"


def run(name: str, tensor: Tensor, arguments: tuple[Any, ...], in_place: bool = False) -> Tensor:
    """Carry out one operation of `POINTWISE`."""
    if name == "rsub" and in_place:  # which torch lacks
        return tensor.neg_().add_(arguments[0])
    where = Tensor if hasattr(Tensor, name) else torch
    result: Tensor = getattr(where, f"{name}_" if in_place else name)(tensor, *arguments)
    return result


def followed_by(
    initializer: Initializer, name: str, arguments: tuple[Any, ...], dtype: torch.dtype
) -> Initializer:
    """The initializer of `name(values, *arguments)`, for values of this dtype.

    Positive factors and offsets go into the parameters of a distribution; a constant is computed
    as torch would compute it.

    >>> print(followed_by(Uniform(0, 1), "mul", (4,), torch.float32))
    Uniform(a=0, b=4)
    """
    if isinstance(initializer, Constant):
        return _constant(initializer.val, name, arguments, dtype)
    factor, offset = _affine(name, arguments)
    # a factor below 0 would mirror the values that were drawn: another thing than its parameters
    if factor > 0:
        try:
            if isinstance(initializer, Normal):
                mean = initializer.mean * factor + offset
                return Normal(mean, initializer.std * factor)
            if isinstance(initializer, Uniform):
                return Uniform(initializer.a * factor + offset, initializer.b * factor + offset)
            if isinstance(initializer, TruncNormal):
                return _scaled(initializer, factor, offset)
        except InitError:  # beyond the range of numbers: as torch computes it
            pass
    if isinstance(initializer, Chain):
        return replace(initializer, steps=(*initializer.steps, (name, arguments)))
    return Chain(initializer, ((name, arguments),))


def recognised(initializer: Initializer) -> Initializer:
    """A truncated normal, where a chain draws one by the inverse CDF, as many libraries write it.

    Uniform values from erf(low / √2) to erf(high / √2), in standard deviations; erfinv; times √2 std;
    plus the mean; clamped to the bounds, since erfinv is infinite at ±1.

    >>> steps = ("erfinv", ()), ("mul", (math.sqrt(2),)), ("add", (0,)), ("clamp", (-1, 1))
    >>> end = math.erf(1 / math.sqrt(2))
    >>> print(recognised(Chain(Uniform(-end, end), steps)))
    TruncNormal(mean=0, std=1.0, a=-1, b=1, units='absolute')
    """
    if not isinstance(initializer, Chain) or not isinstance(initializer.base, Uniform):
        return initializer
    names, arguments = zip(*initializer.steps, strict=True)
    if names != ("erfinv", "mul", "add", "clamp"):
        return initializer
    (_, (width,), (mean,), (low, high)) = arguments
    if width <= 0 or low is None or high is None or not low < high:
        return initializer
    std = width / math.sqrt(2)
    short = float(f"{std:.15g}")  # the number that was written, 0.02 say
    std = short if short * math.sqrt(2) == width else std
    ends = (initializer.base.a, low), (initializer.base.b, high)
    known = (math.isclose(at, math.erf((x - mean) / width), abs_tol=1e-6) for at, x in ends)
    return TruncNormal(mean, std, low, high) if all(known) else initializer


_CONSTANTS: dict[tuple[str, str, str, torch.dtype], Constant] = {}


def _constant(val: float, name: str, arguments: tuple[Any, ...], dtype: torch.dtype) -> Constant:
    """A constant after an operation: torch computes it on one element."""
    key = name, repr(val), repr(arguments), dtype  # 0.0 == -0.0, but not here
    if key not in _CONSTANTS:
        if len(_CONSTANTS) >= 4096:
            _CONSTANTS.clear()
        one = torch.full((1,), val, dtype=dtype, device="cpu")
        _CONSTANTS[key] = Constant(run(name, one, arguments).item())
    return _CONSTANTS[key]


def _scaled(initializer: TruncNormal, factor: float, offset: float) -> TruncNormal:
    low, high = (bound * factor + offset for bound in initializer.bounds())
    mean = initializer.mean * factor + offset
    return TruncNormal(mean, initializer.std * factor, low, high)


def _affine(name: str, arguments: tuple[Any, ...]) -> tuple[float, float]:
    """(factor, offset) of an operation; a factor of 0 where it has none."""
    if len(arguments) != 1 or not isinstance(arguments[0], (int, float)):
        return 0, 0
    value = arguments[0]
    if name == "mul":
        return value, 0
    if name == "div" and value:
        return 1 / value, 0
    return {"add": (1, value), "sub": (1, -value)}.get(name, (0, 0))
