"""What the initializers have in common as classes: said in a config, or called on a module."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, TypedDict

from torch import nn

from initium.apply import start
from initium.here import unseen
from initium.initializers import Declaration
from initium.initializers.allowed import Allowed
from initium.initializers.declaration import Layers, Names
from initium.planning import plan_config

AtLeast0 = Annotated[float, Allowed(minimum=0)]


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

    >>> from initium.initializers import Constant
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
        with unseen():
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
