"""GPT-2, by the tensor names of transformers and nanoGPT."""

from __future__ import annotations

import math
from typing import Any

from initium.initializers.base import number
from initium.presets.checks import Count, Std, count, flag
from initium.presets.registry import PRESETS


@PRESETS.register(
    "gpt2",
    formula="w ~ N(0, std²); c_proj ~ N(0, std² / (2 · n_layer)); biases 0, norms 1",
    reference="Radford et al., Language models are unsupervised multitask learners, 2019, "
    "section 2.3: weights of residual layers are scaled by 1/√N",
    equals="transformers 5.23, GPT2PreTrainedModel._init_weights",
)
def gpt2(n_layer: Count = 12, std: Std = 0.02, bias: bool = True) -> list[dict[str, Any]]:
    """Normal weights; those that write into the residual stream shrink with depth.

    Args:
        n_layer: the number of blocks; two layers of each write into the residual stream.
        std: of all other weights (`initializer_range` in transformers).
        bias: whether the model has biases (nanoGPT's may have none).
    """
    count("n_layer", n_layer)
    number("std", std, least=0)
    flag("bias", bias)
    residual = std / math.sqrt(2 * n_layer)
    biases = [{"type": "Constant", "name": "**.bias", "val": 0}] if bias else []
    return [
        {"type": "Normal", "name": "**.weight", "std": std},
        {"type": "Constant", "name": "**.ln_*.weight", "val": 1},
        {"type": "Normal", "name": "**.c_proj.weight", "std": residual},
        *biases,
    ]
