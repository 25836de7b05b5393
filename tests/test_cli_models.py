"""Every command on a real model: a small Llama of transformers, from the first plan to the last check."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import initium
from initium.cli import app

TARGET = """
from transformers import LlamaConfig, LlamaForCausalLM

def small():
    return LlamaForCausalLM(LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=60, tie_word_embeddings=True,
    ))

def large():
    return LlamaForCausalLM(LlamaConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=8,
        vocab_size=32000,
    ))
"""
RULES = """
- preset: llama
- {type: Normal, name: "**.down_proj.weight", std: 0.005}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llama.py").write_text(TARGET)
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def test_from_a_plan_to_a_checked_start(here):
    target = "llama.py:small"
    table = run("plan", target, "rules.yaml", "--seed", 7, "-o", "plan.json")
    assert "rules.yaml, line 3 (rule 2)" in table and "preset llama@1" in table
    name = "model.layers.1.mlp.down_proj.weight"
    assert "wins" in run("explain", "plan.json", name)
    run("plan", target, "--seed", 7, "-o", "plain.json")
    assert f"- {name}" in run("diff", "plain.json", "plan.json", code=1)

    run("init", target, "rules.yaml", "-o", "start.safetensors", "--seed", 7)
    run("init", target, "rules.yaml", "-o", "start", "--seed", 7)
    assert name in run("inspect", "start.safetensors", "--json")
    for checkpoint in ("start.safetensors", "start"):
        found = json.loads(run("verify", "plan.json", checkpoint, "--all", "--json"))
        assert not found["differences"]
    run("convert", "start", "start.pth")
    run("verify", "plan.json", "start.pth", "--all")
    state = torch.load("start.pth", weights_only=True)
    state[name][3, 5] += 1
    torch.save(state, "other.pth")
    assert name in run("verify", "plan.json", "other.pth", "--all", code=1)
    run("verify", "plan.json", "nothing.pth", code=2)

    sys.path.insert(0, str(here))
    try:
        import llama

        model = initium.build(llama.small, init_cfg=initium.read_config("rules.yaml"), seed=7)
    finally:
        sys.path.remove(str(here))
    assert torch.equal(model.state_dict()[name], torch.load("start.pth", weights_only=True)[name])


def test_a_rank_of_a_cluster(here):
    found = json.loads(
        run("simulate", "llama.py:small", "rules.yaml", "--world", 8, "--mesh", "dp=4,tp=2",
            "--rank", 5, "--json")
    )  # fmt: skip
    assert found["coordinate"] == [2, 1]
    assert len(found["drawn"]) == 3


def test_schema_and_presets(here):
    assert json.loads(run("schema"))["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert "llama" in run("presets")
    (here / "pasted.yaml").write_text(run("presets", "llama"))
    run("plan", "llama.py:small", "pasted.yaml", "-o", "a.json", "--seed", 1)
    run("plan", "llama.py:small", "rules.yaml", "-o", "b.json", "--seed", 1)
    one, other = ({line.name: line.what for line in initium.Plan.load(f"{n}.json")} for n in "ab")
    differing = {name for name in one if one[name] != other[name]}
    assert differing == {f"model.layers.{i}.mlp.down_proj.weight" for i in range(2)}


@pytest.mark.parametrize("out", ["start.safetensors", "start"])
def test_an_interrupted_init_leaves_nothing_half_done(here, out):
    command = [
        sys.executable,
        "-m",
        "initium",
        "init",
        "llama.py:large",
        "rules.yaml",
        "--out",
        out,
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    before = set(here.iterdir())
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
        if set(here.glob("start*")) - before:  # it has begun to write
            break
    while process.poll() is None:  # Python drops an interrupt that meets it in a callback
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
    _, error = process.communicate(timeout=60)
    left = list(here.glob("*start*"))
    if left:  # all of it had been written when the signal was heard
        assert left == [here / "start.safetensors"]
        assert len(load_file(left[0])) == 24 * 9 + 3
    else:
        assert process.returncode in (130, -signal.SIGINT), error.decode()
    assert not set(here.glob("*.part"))
