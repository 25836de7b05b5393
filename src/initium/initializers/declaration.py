"""The data of a declared initializer: what `dict(type=…)` in an `init_cfg` becomes.

These classes say; `initium.functional` derives the classes that users call on a module.
"""

from __future__ import annotations

import math
from typing import Any

from initium.errors import InitError, InitTypeError
from initium.initializers.base import Initializer
from initium.initializers.numbers import is_number, plain
from initium.registry import unknown_argument

Layers = str | type | list[str | type] | None
Names = str | list[str] | None


class Declaration:
    """An initializer for weights, a constant for biases, and which tensors are meant.

    Args:
        bias: what every bias of a matched layer is set to.
        bias_prob: in place of `bias`, the probability that a sigmoid of the bias shall give;
            the bias becomes -log((1 - p) / p).
        layer: a module class, its name or dotted name, or a list of these.
        name: a pattern on dotted tensor names, or a list of them (see `initium.selectors`).

    Raises:
        InitTypeError: a TypeError; an argument of another type, or an unknown one.
        InitError: `bias_prob` outside (0, 1).
    """

    initializer: Initializer
    wholemodule = False  # all layers of the module it is called on, whatever their class
    ownmodule = False  # the module it is called on and none below

    def __init__(
        self,
        *,
        bias: float = 0,
        bias_prob: float | None = None,
        layer: Layers = None,
        name: Names = None,
        **unknown: object,
    ) -> None:
        for argument in unknown:
            raise unknown_argument(type(self), argument)
        bias = plain(bias)
        if not is_number(bias):
            raise InitTypeError(f"bias must be a number, but got {bias!r}")
        if bias_prob is not None:
            bias = bias_from_prob(bias_prob)
        self.bias = bias
        self.layer = _list("layer", layer, (str, type))
        self.name = _list("name", name, (str,))

    def declares(self) -> bool:
        """Whether this is all data, so that it can be planned (a user's subclass may compute)."""
        return True

    def info(self) -> str:
        """What the log says of a tensor that got this."""
        return f"{type(self).__name__}, bias={self.bias}"


def bias_from_prob(prior_prob: float) -> float:
    """-log((1 - p) / p): the bias whose sigmoid is p (Lin et al., Focal loss, 2017, section 4.1).

    >>> round(bias_from_prob(0.01), 4)
    -4.5951
    """
    prior_prob = plain(prior_prob)
    if not isinstance(prior_prob, float):
        raise InitTypeError(f"bias_prob must be a float between 0 and 1, but got {prior_prob!r}")
    if not 0 < prior_prob < 1:
        raise InitError(f"bias_prob must lie between 0 and 1, but got {prior_prob!r}")
    return -math.log((1 - prior_prob) / prior_prob)


def _list(what: str, value: Any, kinds: tuple[type, ...]) -> list[Any]:
    if value is None:
        return []
    values = [value] if isinstance(value, kinds) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, kinds) for v in values):
        allowed = " or ".join("class" if kind is type else "str" for kind in kinds)
        raise InitTypeError(f"{what} must be a {allowed} or a list of them, but got {value!r}")
    return list(values)
