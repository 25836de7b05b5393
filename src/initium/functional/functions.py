"""The initializers as functions on one module: its weights drawn, its biases set to a constant.

The module's own tensors are meant, whatever they are called (see `initium.selectors`); modules
below it are left alone. A module without such tensors is left as it is.
"""

from __future__ import annotations

from torch import Tensor, nn

from initium.apply import initialize
from initium.errors import InitTypeError
from initium.functional.base import BaseInit
from initium.functional.classes import ConstantInit, NormalInit, TruncNormalInit, UniformInit
from initium.functional.scaled import Caffe2XavierInit, KaimingInit, XavierInit
from initium.initializers.declaration import bias_from_prob
from initium.report import log


def constant_init(module: nn.Module, val: float, bias: float = 0) -> None:
    """Set the weights of a module to `val` and its biases to `bias`.

    >>> layer = nn.Linear(2, 1)
    >>> constant_init(layer, 0.5, bias=1)
    >>> layer.weight.tolist(), layer.bias.tolist()
    ([[0.5, 0.5]], [1.0])
    """
    _on(module, ConstantInit(val, bias=bias))


def xavier_init(
    module: nn.Module, gain: float = 1, bias: float = 0, distribution: str = "normal"
) -> None:
    """Draw the weights with variance 2 · gain² / (fan_in + fan_out) (Glorot and Bengio, 2010).

    Args:
        module: its own weights and biases are set.
        gain: a factor on the standard deviation.
        bias: what the biases are set to.
        distribution: `'normal'` or `'uniform'`.

    >>> xavier_init(nn.Linear(3, 2), distribution="uniform")
    """
    _on(module, XavierInit(gain, distribution, bias=bias))


def normal_init(module: nn.Module, mean: float = 0, std: float = 1, bias: float = 0) -> None:
    """Draw the weights from N(mean, std²).

    >>> normal_init(nn.Conv2d(1, 1, 1), mean=0, std=0.01, bias=0)
    """
    _on(module, NormalInit(mean, std, bias=bias))


def trunc_normal_init(
    module: nn.Module,
    mean: float = 0,
    std: float = 1,
    a: float = -2,
    b: float = 2,
    bias: float = 0,
) -> None:
    """Draw the weights from N(mean, std²) cut off at a and b, which are values, not sigmas.

    >>> layer = nn.Linear(100, 10)
    >>> trunc_normal_init(layer, std=0.02, a=-0.04, b=0.04)
    >>> bool(layer.weight.abs().max() <= 0.04)
    True
    """
    _on(module, TruncNormalInit(mean, std, a, b, bias=bias))


def uniform_init(module: nn.Module, a: float = 0, b: float = 1, bias: float = 0) -> None:
    """Draw the weights from U[a, b).

    >>> uniform_init(nn.Linear(3, 2), a=-0.1, b=0.1)
    """
    _on(module, UniformInit(a, b, bias=bias))


def kaiming_init(
    module: nn.Module,
    a: float = 0,
    mode: str = "fan_out",
    nonlinearity: str = "relu",
    bias: float = 0,
    distribution: str = "normal",
) -> None:
    """Draw the weights with variance gain² / fan (He et al., 2015).

    Args:
        module: its own weights and biases are set.
        a: the negative slope, used where the nonlinearity is `'leaky_relu'`.
        mode: `'fan_in'` or `'fan_out'`, of the weight's own shape.
        nonlinearity: a name that `torch.nn.init.calculate_gain` knows.
        bias: what the biases are set to.
        distribution: `'normal'` or `'uniform'`.

    >>> kaiming_init(nn.Conv2d(3, 8, 3), mode="fan_in")
    """
    _on(module, KaimingInit(a, mode, nonlinearity, distribution, bias=bias))


def caffe2_xavier_init(module: nn.Module, bias: float = 0, distribution: str = "uniform") -> None:
    """Draw the weights with variance 1 / fan_in, as Caffe2's XavierFill does.

    >>> caffe2_xavier_init(nn.Conv2d(3, 8, 3))
    """
    _on(module, Caffe2XavierInit(distribution, bias=bias))


def c2_xavier_fill(module: nn.Module) -> None:
    """`caffe2_xavier_init` under the name that fvcore and detectron2 have for it.

    >>> c2_xavier_fill(nn.Conv2d(3, 8, 3))
    """
    caffe2_xavier_init(module)


def c2_msra_fill(module: nn.Module) -> None:
    """`kaiming_init` with fan_out and relu, under fvcore's name for Caffe2's MSRAFill.

    >>> c2_msra_fill(nn.Conv2d(3, 8, 3))
    """
    kaiming_init(module)


def bias_init_with_prob(prior_prob: float) -> float:
    """-log((1 - p) / p): the bias that makes a sigmoid say p at the start (Lin et al., 2017).

    >>> round(bias_init_with_prob(0.01), 4)
    -4.5951
    """
    return bias_from_prob(prior_prob)


NO_MODULE = (
    "{} is asked for on a {}, which has no weight or bias of its own: nothing is done; give it the "
    "module, or fill the tensor by a function of initium.init"
)


def _on(module: nn.Module, init: BaseInit) -> None:
    if isinstance(module, Tensor):
        # MMEngine's do nothing either, and there are models that were trained so
        log.warn([NO_MODULE.format(init.info(), type(module).__name__)])
        return
    if not isinstance(module, nn.Module):
        raise InitTypeError(f"module must be a torch.nn.Module, but got {type(module).__name__}")
    init.ownmodule = True
    initialize(module, init)
