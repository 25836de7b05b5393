"""A sample of the sweep over architectures (`benchmarks/sweep.py` is the whole): bits compared."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from classics import classics
from sweep import CHECKS, check

# warnings of the constructors themselves
pytestmark = pytest.mark.filterwarnings("ignore")
CLASSICS = dict(classics())
# one of each sort: encoders, decoders, state spaces, experts, vision, audio, several towers
NAMES = [
    "bert", "gpt2", "llama", "t5", "mixtral", "gpt_oss", "mamba", "mamba2", "rwkv", "falcon_h1",
    "vit", "swin", "beit", "resnet", "dinov2", "detr", "wav2vec2", "whisper", "hubert", "clip", "blip-2",
    "deberta-v2", "xlnet", "big_bird", "gemma3", "qwen3_moe", "musicgen", "sam", "vits", "perceiver",
]  # fmt: skip


@pytest.mark.parametrize("name", CLASSICS)
def test_constructors_of_torch_and_classic_models(name):
    found = check(CLASSICS[name])
    assert {c: found[c] for c in CHECKS if found[c]} == {}
    assert not found["unwritten"]


@pytest.mark.parametrize("name", NAMES)
def test_constructors_of_transformers(name):
    from shrink import architecture

    built = architecture(name)
    assert built is not None, name
    assert not built.skipped, built.skipped
    found = check(built.factory)
    assert {c: found[c] for c in CHECKS if found[c]} == {}
    assert not found["unwritten"]
