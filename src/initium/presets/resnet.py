"""ResNet, by the names of torchvision."""

from __future__ import annotations

import math
from typing import Any, Literal

from initium.presets.checks import among, flag
from initium.presets.registry import PRESETS

Depth = Literal[18, 34, 50, 101, 152]
BASIC = (18, 34)  # two 3×3 convolutions a block; the others have three, and four times the features


@PRESETS.register(
    "resnet",
    formula="convolutions: var(w) = 2 / fan_out; norms 1 and 0; fc: U(±1/√fan_in), torch's default",
    reference="He et al., Delving deep into rectifiers, ICCV 2015; zero_init_residual: Goyal et "
    "al., Accurate, large minibatch SGD, 2017, section 5.1",
    equals="torchvision 0.28, ResNet.__init__",
)
def resnet(depth: Depth = 50, zero_init_residual: bool = False) -> list[dict[str, Any]]:
    """Kaiming's scheme for convolutions, and torch's own for the classifier.

    Args:
        depth: of the network, which tells its kind of block and the features of the classifier.
        zero_init_residual: the last norm of each block starts at 0, so that a block is the identity.
    """
    among("depth", depth, (18, 34, 50, 101, 152))
    flag("zero_init_residual", zero_init_residual)
    basic = depth in BASIC
    bound = 1 / math.sqrt(512 if basic else 2048)
    last = {"type": "Constant", "name": f"**.{'bn2' if basic else 'bn3'}.weight", "val": 0}
    return [
        {"type": "Kaiming", "layer": "Conv2d", "mode": "fan_out", "nonlinearity": "relu"},
        {"type": "Constant", "layer": "BatchNorm2d", "val": 1},
        {"type": "Uniform", "name": ["**.fc.weight", "**.fc.bias"], "a": -bound, "b": bound},
        *([last] if zero_init_residual else []),
    ]
