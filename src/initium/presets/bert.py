"""BERT, by the names of transformers."""

from __future__ import annotations

from typing import Any

from initium.initializers.base import number
from initium.presets.checks import Std
from initium.presets.registry import PRESETS


@PRESETS.register(
    "bert",
    formula="w ~ N(0, std²), the row of the padding token 0; biases 0, norms 1",
    reference="Devlin et al., BERT, NAACL 2019; their code cuts the normal at two standard "
    "deviations, transformers does not",
    equals="transformers 5.23, BertPreTrainedModel._init_weights",
)
def bert(std: Std = 0.02) -> list[dict[str, Any]]:
    """Normal weights of one spread.

    Args:
        std: of every linear layer and embedding (`initializer_range` in transformers).
    """
    number("std", std, least=0)
    return [
        {"type": "Normal", "layer": ["Linear", "Embedding"], "std": std},
        {"type": "Constant", "layer": "LayerNorm", "val": 1},
        {"type": "Constant", "name": "**.bias", "val": 0},
    ]
