"""Presets: how well-known models start, as rules with a name, a version and a reference."""

from initium.presets import bert, gpt2, llama, mup, resnet, vit  # noqa: F401 (each registers its own)
from initium.presets.registry import PRESETS as PRESETS
from initium.presets.registry import Preset as Preset
from initium.presets.registry import Presets as Presets
