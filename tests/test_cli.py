"""The command line, on files and on real models."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

import initium
from initium.cli import app
from initium.demo import example
from initium.files import read_config
from initium.targets import build_target

MODEL = """
from torch import nn
def build():
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
def not_a_model():
    return 3
"""
CONFIG = [
    dict(type="Normal", layer="Linear", std=0.1),
    dict(type="Constant", layer="LayerNorm", val=1),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODEL)
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    (tmp_path / "c.yaml").write_text(
        "- {type: Normal, layer: Linear, std: 0.1}\n- {type: Constant, layer: LayerNorm, val: 1}\n"
    )
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("target", ["net.py:build", "net:build"])
def test_plan_prints_the_table_and_writes_json(here, target):
    done = run("plan", target, "c.yaml", "--seed", 3, "-o", "plan.json")
    assert done.exit_code == 0
    assert "Normal(mean=0, std=0.1)" in done.stdout
    assert initium.Plan.load("plan.json").seed == 3
    other = run("plan", target, "c.json", "--seed", 3, "--json", "-o", "other.json")
    assert other.exit_code == 0
    assert initium.Plan.load("plan.json").said() == initium.Plan.load("other.json").said()


def test_init_writes_the_same_file_for_the_same_seed(here):
    for out in ("a.safetensors", "b.safetensors", "c.safetensors"):
        done = run("init", "net.py:build", "c.yaml", "-o", out, "--seed", 3 if out[0] != "c" else 4)
        assert done.exit_code == 0 and f"wrote {out}" in done.stdout
    a, b, c = (load_file(here / f"{x}.safetensors") for x in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["0.weight"], c["0.weight"])
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    initium.initialize(model, CONFIG, seed=3)
    assert torch.equal(a["0.weight"], model[0].weight)


def test_plan_without_a_config_shows_the_constructor(here):
    done = run("plan", "net.py:build", "--seed", 3, "--json")
    assert done.exit_code == 0
    lines = {line["name"]: line for line in json.loads(done.stdout)["lines"]}
    assert lines["0.weight"]["writes"][-1]["initializer"]["type"] == "Uniform"
    assert json.loads(done.stdout)["seed"] == 3


def test_plan_of_torchs_generators_is_as_before(here):
    done = run("plan", "net.py:build", "c.yaml", "--seed", 3, "--rng", "torch", "-o", "p.json")
    assert done.exit_code == 0
    assert initium.Plan.load("p.json").rng == "torch"


def test_explain_names_every_write_and_the_winner(here):
    run("plan", "net.py:build", "c.yaml", "--seed", 3, "-o", "plan.json")
    done = run("explain", "plan.json", "0.weight", "0.bias")
    assert done.exit_code == 0
    assert "1. Uniform" in done.stdout and "beaten by c.yaml, line 1 (rule 1)" in done.stdout
    assert "0.bias - [3] float32" in done.stdout
    done = run("explain", "plan.json", "0.wieght")
    assert done.exit_code == 2 and "Did you mean '0.weight'" in done.stderr


def test_init_reports_for_machines(here):
    done = run("init", "net.py:build", "c.yaml", "-o", "x.safetensors", "--seed", 3, "--json")
    report = json.loads(done.stdout)
    assert report["seed"] == 3
    assert [entry["kind"] for entry in report["entries"]] == ["filled"] * 4


def test_another_seed_is_a_difference(here):
    run("plan", "net.py:build", "c.yaml", "--seed", 3, "-o", "a.json")
    run("plan", "net.py:build", "c.yaml", "--seed", 4, "-o", "b.json")
    done = run("diff", "a.json", "b.json")
    assert done.exit_code == 1
    assert done.stdout == "- seed 3, rng 'philox'\n+ seed 4, rng 'philox'\n"


def test_nothing_is_overwritten_unless_that_is_said(here):
    out = here / "x.safetensors"
    out.write_text("mine")
    done = run("init", "net.py:build", "c.yaml", "-o", out)
    assert done.exit_code == 2 and "is there already; say --force to replace it" in done.stderr
    assert out.read_text() == "mine"
    assert run("init", "net.py:build", "c.yaml", "-o", out, "--force").exit_code == 0
    assert "0.weight" in load_file(out)


@pytest.mark.parametrize("out", ["x.txt", "x.pth", "x.json"])
def test_an_ending_that_is_no_folder_is_refused(here, out):
    done = run("init", "net.py:build", "c.yaml", "-o", out)
    assert (
        done.exit_code == 2
        and "give a .safetensors file, or a name without an ending" in done.stderr
    )
    assert not (here / out).exists()


def test_a_rule_that_means_nothing_is_an_error_in_strict_mode(here):
    (here / "n.json").write_text(json.dumps(dict(type="Normal")))
    assert "it does nothing" in run("plan", "net.py:build", "n.json").stdout
    assert run("plan", "net.py:build", "n.json", "--strict").exit_code == 2


def test_diff_has_an_exit_code(here):
    run("plan", "net.py:build", "c.yaml", "--seed", 3, "-o", "a.json")
    run("plan", "net.py:build", "--seed", 3, "-o", "b.json")
    same, other = run("diff", "a.json", "a.json"), run("diff", "a.json", "b.json")
    assert (same.exit_code, same.stdout) == (0, "")
    assert other.exit_code == 1
    assert "- 0.weight" in other.stdout and "+ 0.weight" in other.stdout
    assert run("diff", "a.json", "nothing.json").exit_code == 2


@pytest.mark.parametrize(
    ("target", "config", "message"),
    [
        ("net.py", "c.yaml", "TARGET must be package.module:callable"),
        ("net.py:buidl", "c.yaml", "Did you mean 'build'"),
        ("net.py:not_a_model", "c.yaml", "must make a torch.nn.Module, but made a int"),
        ("nett.py:build", "c.yaml", "there is no file nett.py"),
        ("nett:build", "c.yaml", "cannot import nett"),
        ("net.py:build", "d.yaml", "there is no config file d.yaml"),
        ("net.py:build", "bad.yaml", "cannot read the config bad.yaml"),
        (
            "net.py:build",
            "typo.json",
            "typo.json, line 1 (rule 1): KaimingInit got an unknown argument 'mod'",
        ),
    ],
)
def test_mistakes_in_one_line_with_exit_code_2_and_no_file(here, target, config, message):
    (here / "bad.yaml").write_text("a: [")
    (here / "typo.json").write_text(json.dumps(dict(type="Kaiming", mod=1)))
    done = run("init", target, config, "-o", "x.safetensors")
    assert done.exit_code == 2
    assert message in done.stderr and "Traceback" not in done.output
    assert not list(here.glob("x.safetensors*"))


def test_warnings_in_one_line_and_strict(here):
    (here / "w.json").write_text(json.dumps([*CONFIG, dict(type="Xavier", layer="Lineer")]))
    done = run("plan", "net.py:build", "w.json")
    assert done.exit_code == 0 and "Did you mean 'Linear'" in done.output
    assert run("plan", "net.py:build", "w.json", "--strict").exit_code == 2


def test_demo(tmp_path):
    done = run("demo", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    for text in ("plan of ViTForImageClassification: 200 tensors", "{'filled': 200}",
                 "plan of SentenceClassifier", "104 loaded, 2 filled", "XavierInit"):  # fmt: skip
        assert text in done.stdout
    state = load_file(tmp_path / "vit.safetensors")
    plan = initium.Plan.load(tmp_path / "vit.plan.json")
    assert set(state) == {line.name for line in plan}
    for line in plan:
        # the plan's std, within five standard errors of each tensor's size
        n = state[line.name].numel()
        assert state[line.name].std().item() == pytest.approx(
            line.std, rel=5 / (2 * n) ** 0.5, abs=1e-9
        )


def test_examples_are_found_and_valid():
    assert len(read_config(example("vit.yaml"))) == 5
    assert re.search("Xavier", example("minilm.yaml").read_text())
    assert isinstance(build_target("torch.nn:Identity"), nn.Identity)
