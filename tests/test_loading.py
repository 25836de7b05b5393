"""Pretrained: all or nothing, whatever the file; formats, inspection and conversion."""

import copy
import gc
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

import initium
from checkpoints import bits, load, net, refused, same
from initium import InitError, initialize, plan
from initium.checkpoint import convert_checkpoint, inspect_checkpoint
from initium.checkpoint.blob import LocalFile
from initium.checkpoint.region import Region
from initium.cli import app


@pytest.fixture
def saved():
    return bits(net())


def sharded(state, folder):
    names = list(state)
    files = {
        "model-00001-of-00002.safetensors": names[:4],
        "model-00002-of-00002.safetensors": names[4:],
    }
    for file, keys in files.items():
        save_file({key: state[key] for key in keys}, folder / file)
    weight_map = {key: file for file, keys in files.items() for key in keys}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


WAYS = {
    "pth": lambda s, p: torch.save(s, p / "x.pth") or p / "x.pth",
    "legacy": lambda s, p: (
        torch.save(s, p / "x.pt", _use_new_zipfile_serialization=False) or p / "x.pt"
    ),
    "safetensors": lambda s, p: save_file(s, p / "x.safetensors") or p / "x.safetensors",
    "index": sharded,
    "folder of shards": lambda s, p: sharded(s, p).parent,
}


def dcp(state, folder):
    save_file(state, folder / "source.safetensors")
    convert_checkpoint(folder / "source.safetensors", folder / "dcp")
    return folder / "dcp"


WAYS["dcp"] = dcp


@pytest.mark.parametrize("way", WAYS)
def test_every_format_loads_the_same_bits(way, saved, tmp_path):
    path = WAYS[way](saved, tmp_path)
    model = net()
    initialize(model, load(path), strict=True)
    assert same(bits(model), saved)


# ------------------------------------------------------------------ all or nothing


def files_of(path):
    return [path] if path.is_file() else [p for p in path.iterdir() if not p.name.endswith(".json")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_ends_early_changes_nothing(way, part, saved, tmp_path):
    path = WAYS[way](saved, tmp_path)
    victim = max(
        files_of(path if way != "index" else tmp_path), key=lambda p: (p.stat().st_size, p.name)
    )
    content = victim.read_bytes()
    victim.write_bytes(content[: int(part * len(content))])
    model = net()
    rules = [dict(type="Constant", val=1, layer=["Linear", "Conv2d"]), load(path)]
    with refused(model, match="cannot read the checkpoint"):
        initialize(model, rules)


def test_every_tensor_is_checked_before_the_first_is_written(saved, tmp_path):
    """The last tensor's bytes lie beyond the end: the first ones must not be written either."""
    torch.save(saved, tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as old,
        zipfile.ZipFile(tmp_path / "y.pth", "w") as new,
    ):
        for record in old.infolist():
            data = old.read(record)
            new.writestr(record.filename, data[:4] if record.filename.endswith("/data/5") else data)
    model = net()
    with refused(model, match="cannot read the checkpoint"):
        initialize(model, load(tmp_path / "y.pth"))


def test_a_wrong_hash_changes_nothing(saved, tmp_path):
    import hashlib

    save_file(saved, tmp_path / "x.safetensors")
    right = hashlib.sha256((tmp_path / "x.safetensors").read_bytes()).hexdigest()
    model = net()
    with refused(model, match="SHA-256"):
        initialize(model, load(tmp_path / "x.safetensors", sha256="0" * 64))
    initialize(model, load(tmp_path / "x.safetensors", sha256=right[:12]), strict=True)
    assert same(bits(model), saved)
    with pytest.raises(InitError, match="is a folder, which has none"):
        initialize(model, load(tmp_path, sha256=right))


def test_a_file_replaced_after_the_plan_is_still_the_one_that_was_planned(saved, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(saved, path)
    made = plan(net(), load(path))
    save_file({k: v + 1 for k, v in saved.items()}, tmp_path / "new")
    (tmp_path / "new").replace(path)
    models = [net(), net()]
    for model in models:  # as often as it is applied
        initium.apply(made, model)
        assert same(bits(model), saved)
    # the plan that a model remembers goes by the path, as one that was saved
    initium.apply(initium.plan_of(models[0]), models[1])
    assert same(bits(models[1]), {k: v + 1 for k, v in saved.items()})


def descriptors():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_files_are_closed_when_no_plan_needs_them_any_more(saved, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(saved, path)
    before, models = descriptors(), [net() for _ in range(3)]
    initialize(models[0], load(path))
    assert descriptors() == before
    made = plan(net(), load(path))
    assert descriptors() == before + 1
    initium.apply(made, models[1])
    del made
    assert descriptors() == before
    remembered = initium.plan_of(models[1])
    initium.apply(remembered, models[2])
    assert descriptors() == before  # though the plan is there, which has opened it for that time


@pytest.mark.parametrize("travels", [lambda p: pickle.loads(pickle.dumps(p)), copy.deepcopy])
def test_a_plan_goes_to_another_process_without_its_open_files(travels, saved, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({k: v for k, v in saved.items() if k != "fc.bias"}, path)
    made = plan(net(), [dict(type="Normal", layer="Linear"), load(path, strict=False)], seed=3)
    there, model, twin = travels(made), net(), net()
    assert there == made
    initium.apply(made, model)
    del made
    gc.collect()
    initium.apply(there, twin)
    assert same(bits(twin), bits(model))


def test_a_second_bad_checkpoint_keeps_the_first_from_being_written(saved, tmp_path):
    save_file({"fc.weight": saved["fc.weight"]}, tmp_path / "x.safetensors")
    (tmp_path / "y.pth").write_bytes(b"PK\x03\x04 and nothing else")
    model = net()
    rules = [load(tmp_path / "x.safetensors", strict=False), load(tmp_path / "y.pth")]
    with refused(model, match=r"y\.pth"):
        initialize(model, rules)


def test_a_damaged_archive_in_a_folder_changes_nothing(saved, tmp_path):
    """Of the right size: it is opened before anything is written."""
    folder = dcp(saved, tmp_path)
    for file in folder.glob("*.distcp"):
        content = bytearray(file.read_bytes())
        content[-400:] = bytes(400)
        file.write_bytes(content)
    model = net()
    rules = [dict(type="Constant", val=1, layer=["Linear", "Conv2d"]), load(folder)]
    with refused(model, match="zip"):
        initialize(model, rules)


def test_what_lies_beyond_the_end_of_a_file_is_an_error(tmp_path):
    (tmp_path / "x").write_bytes(bytes(10))
    blob = LocalFile(tmp_path / "x")
    for offset, length in ((5, 6), (-1, 2), (0, -1)):
        with pytest.raises(InitError, match="it ends after 10 bytes"):
            blob.read(offset, length)
    with pytest.raises(InitError, match="the tensor ends at byte 12"):
        Region(blob, 0, (3,), torch.float32, "w")
    with pytest.raises(InitError, match="the tensor ends at byte 16"):
        Region(blob, 0, (2,), torch.float32, "w", stride=(3,))


# ------------------------------------------------------------------ reading


def test_large_tensors_are_read_in_pieces_by_several_threads(tmp_path):
    torch.manual_seed(0)
    state = {"weight": torch.randn(1500, 2000), "bias": torch.randn(1500)}
    save_file(state, tmp_path / "x.safetensors")
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            model = nn.Linear(2000, 1500)
            initialize(model, load(tmp_path / "x.safetensors"), strict=True)
        finally:
            torch.set_num_threads(before)
        assert same(bits(model), state)
    half = nn.Linear(2000, 1500, dtype=torch.bfloat16)
    initialize(half, load(tmp_path / "x.safetensors"), strict=True)
    assert torch.equal(half.weight, state["weight"].bfloat16())


def test_only_what_is_wanted_is_read(saved, tmp_path, monkeypatch):
    save_file(
        {f"{p}.{k}": v.clone() for k, v in saved.items() for p in "ab"}, tmp_path / "x.safetensors"
    )
    read = []
    real = Region.pieces
    monkeypatch.setattr(
        Region, "pieces", lambda self, *args: read.append(self.text) or real(self, *args)
    )
    monkeypatch.setattr(Region, "read", lambda *_: pytest.fail("it was read whole"))
    rule = load(tmp_path / "x.safetensors", prefix="a")
    planned = plan(net(), rule)
    assert read == []
    initium.apply(planned, net())
    assert sorted(read) == sorted(f"x.safetensors: a.{k}" for k in saved)


PEAK = """
import sys, torch, initium
from torch import nn
def status(field):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
model = nn.Sequential(*(nn.Linear(1024, 4096, bias=False, dtype=getattr(torch, sys.argv[2]))
                        for _ in range(12)))
for i in range(2):  # the first time brings imports and threads along
    initium.initialize(model, dict(type="Pretrained", checkpoint=sys.argv[1]), strict=True)
    before = status("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_the_extra_memory_is_less_than_one_tensor(name, dtype, tmp_path):
    state = {f"{i}.weight": torch.ones(4096, 1024) for i in range(12)}  # 16 MiB each
    (save_file if name.endswith("s") else torch.save)(state, tmp_path / name)
    command = [sys.executable, "-c", PEAK, str(tmp_path / name), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 16


# ------------------------------------------------------------------ a pickle that must be trusted


def made(pairs):
    return dict(pairs)


class Custom:
    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return (made, (list(self.state.items()),))


def test_what_needs_code_is_read_when_it_is_trusted(saved, tmp_path):
    torch.save({"state_dict": Custom(saved)}, tmp_path / "x.pth")
    model = net()
    with refused(model, match="trust_pickle"):
        initialize(model, load(tmp_path / "x.pth"))
    initialize(model, load(tmp_path / "x.pth", trust_pickle=True), strict=True)
    assert same(bits(model), saved)


# ------------------------------------------------------------------ inspect and convert


def invoke(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


TREE = """\
x.safetensors: 7 tensors, 54 values, 216 B
├── layers  6 tensors, 192 B
│   ├── 0 … 1 (2 alike)  4 tensors, 160 B
│   │   ├── w  4×4 float32, 64 B
│   │   └── b  4 float32, 16 B
│   └── 2  2 tensors, 32 B
│       ├── w  2×2 float32, 16 B
│       └── b  4 float32, 16 B
└── scale  6 float32, 24 B"""


def test_inspect_shows_a_tree_in_which_equal_blocks_are_one_branch(tmp_path, monkeypatch):
    state = {f"layers.{i}.w": torch.ones(4, 4) for i in range(2)}
    state |= {"layers.2.w": torch.ones(2, 2), "scale": torch.ones(6)}
    state |= {f"layers.{i}.b": torch.ones(4) for i in range(3)}
    order = sorted(state, key=lambda k: (k == "scale", k.split(".")[1:2], k.endswith("b")))
    torch.save({k: state[k] for k in order}, tmp_path / "x.pth")
    monkeypatch.chdir(tmp_path)
    done = invoke("inspect", "x.pth")
    assert done.exit_code == 0, done.output
    assert done.stdout.rstrip() == TREE.replace("x.safetensors", "x.pth")
    data = json.loads(invoke("inspect", "x.pth", "--json").stdout)
    assert data["tensors"]["scale"] == {"shape": [6], "dtype": "float32", "nbytes": 24}


def test_inspect_of_a_bad_file_is_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"<!DOCTYPE html><html>")
    done = invoke("inspect", tmp_path / "x.pth")
    assert done.exit_code == 2
    assert "it is an HTML page, no checkpoint" in done.output


def test_names_that_are_tensors_and_prefixes(tmp_path):
    state = {"a": torch.ones(1), "a.b": torch.ones(2), "a.b.c": torch.ones(3)}
    save_file(state, tmp_path / "x.safetensors")
    found = inspect_checkpoint(tmp_path / "x.safetensors")
    assert set(found.entries) == set(state)
    assert all(text in str(found) for text in ("1 float32", "2 float32", "3 float32"))


@pytest.mark.parametrize("source", ["pth", "safetensors", "index", "dcp"])
@pytest.mark.parametrize("out", ["y.safetensors", "y.pth", "y.bin", "y"])
def test_convert_keeps_every_bit(source, out, saved, tmp_path):
    saved["fc.bias"] = saved["fc.bias"].bfloat16()
    path = WAYS[source](saved, tmp_path)
    done = invoke("convert", path, tmp_path / "out" / out)
    assert done.exit_code == 0, done.output
    again = inspect_checkpoint(tmp_path / "out" / out).entries
    assert same({name: entry.read() for name, entry in again.items()}, saved)


def test_convert_takes_a_part_under_other_names_and_overwrites_only_when_told(saved, tmp_path):
    torch.save(
        {"ema": {f"net.{k}": v for k, v in saved.items()}, "model": saved}, tmp_path / "x.pt"
    )
    out = tmp_path / "y.safetensors"
    args = ("convert", tmp_path / "x.pt", out, "--key", "ema", "--prefix", "net")
    assert invoke(*args, "--rename", "^conv=stem").exit_code == 0
    expected = {k.replace("conv", "stem"): v for k, v in saved.items()}
    assert same(load_file(out), expected)
    done = invoke(*args)
    assert done.exit_code == 2
    assert "is there already; say --force" in done.output
    assert same(load_file(out), expected)
    assert invoke(*args, "--force").exit_code == 0
    assert same(load_file(out), saved)
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_is_replaced_when_told(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    for _ in range(2):
        convert_checkpoint(tmp_path / "x.safetensors", tmp_path / "folder", force=True)
    model = net()
    initialize(model, load(tmp_path / "folder"), strict=True)
    assert same(bits(model), saved)


def test_convert_refuses_unknown_endings_and_leaves_what_was_there(saved, tmp_path, monkeypatch):
    torch.save(saved, tmp_path / "x.pt")
    with pytest.raises(InitError, match="its ending must be"):
        convert_checkpoint(tmp_path / "x.pt", tmp_path / "y.onnx")
    (tmp_path / "y.pth").write_text("precious")

    def full(tensors, path):
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        convert_checkpoint(tmp_path / "x.pt", tmp_path / "y.pth", force=True)
    assert (tmp_path / "y.pth").read_text() == "precious"
    assert {p.name for p in tmp_path.iterdir()} == {"x.pt", "y.pth"}
