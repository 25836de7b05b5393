"""`initium init` to a folder: any number of ranks write it, and what it holds is always the same."""

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import cluster
import initium
import starting
from families import FAMILIES
from initium.checking import check_checkpoint
from initium.checkpoint.opening import open_checkpoint
from initium.cli import app
from initium.digest import same_bits
from initium.files import read_config

TARGET = f"{Path(starting.__file__)}:Net"


def prepare(folder):
    (folder / "c.json").write_text(json.dumps(starting.CONFIG))
    torch.manual_seed(1)
    save_file({"weight": torch.randn(24, 35), "bias": torch.randn(24)}, folder / "old.safetensors")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return prepare(tmp_path)


def torchrun(world, folder, target, out):
    """Start `torchrun`; several may run at the same time."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               str(world), "-m", "initium", "init", TARGET.replace("Net", target), "c.json",
               "--out", str(out), "--seed", "3"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )


def finished(process):
    """The exit code and all that was printed."""
    try:
        text, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    return process.returncode, text


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def init(out, *more, seed=3):
    return run("init", TARGET, "c.json", "--out", out, "--seed", seed, *more)


def read(path):
    return {name: entry.read() for name, entry in open_checkpoint(path).items()}


def same(a, b):
    return a.keys() == b.keys() and all(same_bits(a[name], b[name]) for name in a)


def whole(folder):
    """What one process has, without any checkpoint."""
    os.chdir(folder)
    return initium.build(starting.Net, seed=3, init_cfg=read_config("c.json"))


def left(folder):
    """What a run has left beside its input."""
    inputs = {"c.json", "old.safetensors"}
    return {path.name for path in folder.iterdir()} - inputs


# ---- any number of ranks


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders written by 1, 2 and 3 processes of torchrun, and by one without it."""
    folder, before = prepare(tmp_path_factory.mktemp("seeds")), Path.cwd()
    os.chdir(folder)
    try:
        assert init("alone").exit_code == 0
    finally:
        os.chdir(before)
    running = {world: torchrun(world, folder, "Net", f"by{world}") for world in (1, 2, 3)}
    for world, process in running.items():
        code, text = finished(process)
        assert code == 0, text
        assert text.count("report of Net: ") == text.count(f"wrote by{world}") == 1
    return folder


@pytest.mark.parametrize("name", ["alone", "by1", "by2", "by3"])
def test_the_tensors_are_those_of_one_process(folders, name, monkeypatch):
    monkeypatch.chdir(folders)
    state = whole(folders).state_dict()
    assert "steps" in state and "mask" not in state
    assert same(read(folders / name), dict(state))
    # as torch itself reads it
    loaded = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is")  # alone
        dcp.load(loaded, checkpoint_id=folders / name)
    assert same(loaded, dict(state))


@pytest.mark.parametrize("name", ["alone", "by1", "by2", "by3"])
def test_the_plan_lies_in_it_and_verifies_it(folders, name, monkeypatch):
    monkeypatch.chdir(folders)
    for plan in (f"{name}/plan.json", "alone/plan.json"):
        done = run("verify", plan, name, "--all")
        assert done.exit_code == 0, done.output
    assert run("verify", f"{name}/plan.json", name, "--seed", 4).exit_code == 1
    assert (folders / name / "plan.json").read_bytes() == Path("alone/plan.json").read_bytes()


def test_each_rank_writes_its_share(folders):
    for world in (2, 3):
        sizes = [path.stat().st_size for path in (folders / f"by{world}").glob("*.distcp")]
        assert len(sizes) == world
        assert max(sizes) < 1.5 * sum(sizes) / world
    assert left(folders) == {"alone", "by1", "by2", "by3"}


def test_a_file_of_one_process_holds_the_same(folders, monkeypatch):
    monkeypatch.chdir(folders)
    try:
        assert init("start.safetensors").exit_code == 0
        saved = load_file("start.safetensors")
        assert same(saved, {k: v for k, v in read("by3").items() if k in saved})
        assert read("by3").keys() - saved.keys() <= {"words.weight", "head.weight"}
        assert run("verify", "by2/plan.json", "start.safetensors", "--all").exit_code == 0
    finally:
        Path("start.safetensors").unlink()


@pytest.mark.parametrize("world", [2, 5])
def test_every_family_from_within_a_group(tmp_path, world):
    folder = tmp_path / "starts"
    cluster.values(cluster.run(world, starting.families, folder, folder=tmp_path / "cluster"))
    for name, family in FAMILIES.items():
        state = initium.build(family.crafted, seed=3, init_cfg=family.rules).state_dict()
        assert same(read(folder / name), dict(state)), name
        plan = initium.Plan.load(folder / name / "plan.json")
        assert check_checkpoint(plan, folder / name, everything=True).same


@pytest.mark.parametrize("world", [1, 4])
def test_the_first_rank_tells_what_was_done(here, world):
    found = cluster.values(cluster.run(world, starting.start, here, "Net", folder=here / "cluster"))
    assert found[0]["loaded"] == 2
    assert found[1:] == [None] * (world - 1)
    assert same(read("start"), dict(whole(here).state_dict()))


@pytest.mark.parametrize(
    ("target", "messages"),
    [
        ("raises", ["rank 1 has failed, so this one stops, too: RuntimeError: this rank is broken",
                    "RuntimeError: this rank is broken"]),
        ("differs", 2 * ["ranks 0 and 1 disagree, and nothing was written: scale: rank 0 has"]),
        ("full", 2 * ["InitError: rank 1 cannot write its share to "]),
        ("killed", ["RuntimeError: ", None]),
        ("Late", ["RuntimeError: ", None]),
    ],
)  # fmt: skip
def test_an_error_on_one_rank_is_one_on_all_and_nothing_is_left(here, target, messages):
    outcomes = cluster.run(2, starting.start, here, target, folder=here / "cluster")
    assert max(outcome.seconds for outcome in outcomes if outcome.error) < 30  # nobody waits
    for outcome, message in zip(outcomes, messages, strict=True):
        if message is None:
            assert outcome.code == -signal.SIGKILL
        else:
            assert outcome.code == 1
            assert message in outcome.error
    assert left(here) == {"cluster"}


def test_ranks_that_hold_the_whole_agree_too(here):
    outcomes = cluster.run(2, starting.tiny, here, folder=here / "cluster")
    for outcome in outcomes:
        assert "ranks 0 and 1 disagree, and nothing was written: scale: rank 0" in outcome.error
    assert left(here) == {"cluster"}


def test_torchrun_fails_where_a_rank_is_killed_and_nothing_is_left(here):
    code, text = finished(torchrun(2, here, "Late", "start"))
    assert code != 0, text
    assert "wrote" not in text
    assert left(here) == set()


def test_one_file_cannot_be_written_by_several(here, monkeypatch):
    outcomes = cluster.run(2, starting.start, here, "Net", "x.safetensors", folder=here / "cluster")
    for outcome in outcomes:
        assert "x.safetensors is one file, which 2 ranks cannot write together" in outcome.error
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun says it
    done = init("x.safetensors")
    assert done.exit_code == 2
    assert "is one file, which 2 ranks cannot write" in done.stderr
    assert left(here) == {"cluster"}


# ---- one process


def test_the_constructors_own_values_come_from_the_seed(here):
    for out, seed in (("a.safetensors", 3), ("b.safetensors", 3), ("c.safetensors", 4)):
        assert init(out, seed=seed).exit_code == 0
    a, b, c = (load_file(f"{x}.safetensors") for x in "abc")
    assert same(a, b)
    for name in ("square", "pair", "low", "chain", "inner.0.weight"):
        assert not torch.equal(a[name], c[name])
    assert torch.equal(a["inner.1.weight"], c["inner.1.weight"])  # loaded


@pytest.mark.parametrize("out", ["x.safetensors", "x"])
def test_torchs_own_functions_draw_as_they_did(here, out):
    torch.manual_seed(11)
    done = run("init", TARGET, "c.json", "-o", out, "--seed", 3, "--rng", "torch")
    assert done.exit_code == 0, done.output
    torch.manual_seed(11)
    model = starting.Net()
    initium.initialize(model, read_config("c.json"), seed=3, rng="torch")
    found = read(out)
    assert same(found, {k: v for k, v in model.state_dict().items() if k in found})
    assert found.keys() >= model.state_dict().keys() - {"head.weight", "words.weight"}


def test_a_seed_is_drawn_where_none_is_given(here):
    assert run("init", TARGET, "c.json", "--out", "x").exit_code == 0
    plan = initium.Plan.load("x/plan.json")
    assert isinstance(plan.seed, int)
    assert run("verify", "x/plan.json", "x", "--all").exit_code == 0


def test_a_folder_that_is_there_is_replaced_by_force_only(here):
    assert init("x").exit_code == 0
    first = read("x")
    done = init("x", seed=4)
    assert done.exit_code == 2
    assert "x is there already; say --force to replace it" in done.stderr
    assert same(read("x"), first)
    (here / "x.part").mkdir()  # of a run that was killed
    (here / "x.part" / "old").touch()
    assert init("x", "--force", seed=4).exit_code == 0
    assert not same(read("x"), first)
    assert left(here) == {"x"}
    assert {path.suffix for path in Path("x").iterdir()} == {"", ".distcp", ".json", ".safetensors"}


def test_what_fails_leaves_the_old_folder(here, monkeypatch):
    assert init("x").exit_code == 0
    first = read("x")
    monkeypatch.setattr(initium.Plan, "save", lambda *_: 1 / 0)
    assert init("x", "--force", seed=4).exit_code != 0
    assert same(read("x"), first)
    assert left(here) == {"x"}


def test_force_replaces_nothing_but_checkpoints(here):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("years of work")
    (here / "note").write_text("a file")
    for out in ("mine", "note", "."):
        done = init(out, "--force")
        assert done.exit_code == 2
        assert "is no folder of torch.distributed.checkpoint" in done.stderr
    assert (here / "mine" / "thesis.txt").read_text() == "years of work"
    (here / "empty").mkdir()
    assert init("empty", "--force").exit_code == 0
    assert init("deep/er/new").exit_code == 0


@pytest.mark.parametrize("ending", ["pth", "pt", "bin", "ckpt"])
def test_endings_of_other_files_are_refused(here, ending):
    done = init(f"x.{ending}")
    assert done.exit_code == 2
    assert "give a .safetensors file, or a name without an ending" in done.stderr
    assert left(here) == set()


def test_nothing_of_the_process_is_changed(here):
    before = signal.getsignal(signal.SIGTERM)
    assert init("x").exit_code == 0
    assert init("x").exit_code == 2
    assert signal.getsignal(signal.SIGTERM) is before
    assert not dist.is_initialized()


def test_sigterm_leaves_nothing_half_done(here, monkeypatch):
    def save(*_):
        assert left(here) == {"x.part"}
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(initium.Plan, "save", save)
    assert init("x").exit_code == 128 + signal.SIGTERM
    assert left(here) == set()


def test_mistakes_are_told_in_one_line(here):
    for arguments, message in [
        ((f"{TARGET}t", "c.json"), "Did you mean 'Net'"),
        ((TARGET, "d.json"), "there is no config file d.json"),
        ((TARGET, "c.json", "--rng", "numpy"), "rng must be"),
    ]:
        done = run("init", *arguments, "--out", "x")
        assert done.exit_code == 2
        assert message in done.stderr and "Traceback" not in done.output
    assert left(here) == set()


@pytest.mark.parametrize("out", ["x", "x.safetensors"])
def test_a_lazy_module_is_an_error_before_anything_is_written(here, out):
    Path("lazy.py").write_text("from torch import nn\ndef build(): return nn.LazyLinear(3)\n")
    Path("empty.json").write_text("[]")
    done = run("init", "lazy.py:build", "empty.json", "--out", out)
    assert done.exit_code == 2
    assert "weight, bias: no shape yet" in done.stderr
    assert not Path(out).exists()
