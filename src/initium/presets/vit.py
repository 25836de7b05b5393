"""Vision Transformers, by the names of timm."""

from __future__ import annotations

import math
from typing import Any

from initium.initializers.base import number
from initium.presets.checks import Count, Std, count, flag
from initium.presets.registry import PRESETS


@PRESETS.register(
    "vit-timm",
    formula="linear layers and pos_embed ~ N(0, std²); cls_token ~ N(0, 1e-12); patches: "
    "U(±1/√fan_in), torch's default; biases 0, norms 1",
    reference="Dosovitskiy et al., An image is worth 16x16 words, ICLR 2021; the numbers are "
    "timm's. It cuts the normal at ±2, 100 standard deviations out, which cuts nothing",
    equals="timm 1.0.31, VisionTransformer.init_weights with weight_init=''",
)
def vit_timm(
    patch_size: Count = 16, in_chans: Count = 3, std: Std = 0.02, class_token: bool = True
) -> list[dict[str, Any]]:
    """As timm starts a Vision Transformer.

    Args:
        patch_size: the side of a patch, of which the bound of the patch embedding's bias follows.
        in_chans: the number of channels of an image, likewise.
        std: of linear layers and of the position embedding.
        class_token: whether the model has a `cls_token`.
    """
    count("patch_size", patch_size)
    count("in_chans", in_chans)
    number("std", std, least=0)
    flag("class_token", class_token)
    bound = 1 / math.sqrt(in_chans * patch_size**2)
    patches = ["**.patch_embed.proj.weight", "**.patch_embed.proj.bias"]
    token = [{"type": "Normal", "name": "**.cls_token", "std": 1e-6}] if class_token else []
    return [
        {"type": "Normal", "layer": "Linear", "std": std},
        {"type": "Constant", "layer": "LayerNorm", "val": 1},
        {"type": "Uniform", "name": patches, "a": -bound, "b": bound},
        {"type": "Normal", "name": "**.pos_embed", "std": std},
        *token,
    ]


@PRESETS.register(
    "vit",
    formula="w, position_embeddings and cls_token ~ N(0, std²); biases 0, norms 1",
    reference="Dosovitskiy et al., An image is worth 16x16 words, ICLR 2021; the numbers are "
    "those of ViTConfig. It cuts two of the normals at ±2, which cuts nothing",
    equals="transformers 5.23, ViTPreTrainedModel._init_weights",
)
def vit(std: Std = 0.02) -> list[dict[str, Any]]:
    """As transformers starts a Vision Transformer; by its names.

    Args:
        std: of every weight (`initializer_range` in transformers).
    """
    number("std", std, least=0)
    return [
        {"type": "Normal", "layer": ["Linear", "Conv2d"], "std": std},
        {"type": "Constant", "layer": "LayerNorm", "val": 1},
        {"type": "Normal", "name": ["**.cls_token", "**.position_embeddings"], "std": std},
    ]
