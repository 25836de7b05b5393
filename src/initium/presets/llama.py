"""Llama, and others that are built like it (Mistral, Qwen), by the names of transformers."""

from __future__ import annotations

from typing import Any

from initium.initializers.base import number
from initium.presets.checks import Std
from initium.presets.registry import PRESETS


@PRESETS.register(
    "llama",
    formula="w ~ N(0, std²); biases 0, norms 1",
    reference="Touvron et al., LLaMA: Open and efficient foundation language models, 2023; the "
    "paper gives no initialisation, std=0.02 is initializer_range of LlamaConfig",
    equals="transformers 5.23, PreTrainedModel._init_weights of LlamaForCausalLM",
)
def llama(std: Std = 0.02) -> list[dict[str, Any]]:
    """Normal weights of one spread.

    Args:
        std: of every linear layer and embedding (`initializer_range` in transformers).
    """
    number("std", std, least=0)
    return [
        {"type": "Normal", "layer": ["Linear", "Embedding"], "std": std},
        {"type": "Constant", "name": "**.*norm.weight", "val": 1},
    ]
