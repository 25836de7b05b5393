"""Small models of transformers, and what they are trained on.

Sizes are uneven where torch's own engine allows it: 101 words, 6 experts, 17 positions, 7 classes.
"""

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

WORDS = 101
COMMON = dict(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=8,
    intermediate_size=72,
    attn_implementation="eager",
)


def words() -> dict[str, Tensor]:
    ids = torch.arange(18).mul(7).remainder(WORDS).view(2, 9)
    return dict(input_ids=ids, labels=ids)


def pictures() -> dict[str, Tensor]:
    pixels = torch.linspace(-1, 1, 2 * 3 * 12 * 12).view(2, 3, 12, 12).sin()
    return dict(pixel_values=pixels, labels=torch.tensor([2, 6]))


def llama(**config) -> nn.Module:
    return LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, **COMMON, **config))


def vit() -> nn.Module:
    return ViTForImageClassification(ViTConfig(image_size=12, patch_size=3, num_labels=7, **COMMON))


def bert() -> nn.Module:
    config = BertConfig(vocab_size=WORDS, max_position_embeddings=37, **COMMON)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    return BertForMaskedLM(config)


def mixtral() -> nn.Module:
    config = MixtralConfig(
        vocab_size=WORDS, num_key_value_heads=4, num_local_experts=6, pad_token_id=3, **COMMON
    )
    config._experts_implementation = "eager"
    return MixtralForCausalLM(config)


def mamba() -> nn.Module:
    return MambaForCausalLM(
        MambaConfig(vocab_size=WORDS, hidden_size=36, num_hidden_layers=2, state_size=5)
    )
