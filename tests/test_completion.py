"""Words completed by a shell: the right ones, without importing torch, and nothing else printed."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from initium import PRESETS
from initium_cli import completing

PROGRAM = "import sys; from initium_cli import app; app(prog_name='initium', args=sys.argv[1:])"


def python(code, *arguments, **variables):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def bash(line):
    """What bash is told for the last word of a line."""
    return python(
        PROGRAM,
        _INITIUM_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(line.count(" ")),
    ).split()


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"blocks.{i}.{part}.weight" for i in range(30) for part in ("attn", "mlp")]
    (tmp_path / "plan.json").write_text(json.dumps({"lines": [{"name": n} for n in names]}))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("initium pl", ["plan"]),
        ("initium in", ["init", "inspect"]),
        ("initium plan net.py --s", ["--seed", "--strict"]),
        ("initium plan net.py --rng p", ["philox"]),
        ("initium presets g", ["gpt2"]),
        ("initium presets vit", ["vit", "vit-timm"]),
        ("initium explain plan.json blo", ["blocks."]),
        ("initium explain plan.json blocks.7", ["blocks.7.attn.weight", "blocks.7.mlp.weight"]),
        ("initium explain nothing.json b", []),
    ],
)
def test_words(plan, line, words):
    assert bash(line) == words


def test_neither_completion_nor_help_imports_torch():
    code = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); {PROGRAM}"
    for arguments in (["--help"], ["plan", "--help"], ["--version"]):
        assert python(code, *arguments).splitlines()[-1] == "False"
    words = {"COMP_WORDS": "initium presets g", "COMP_CWORD": "2"}
    assert python(code, _INITIUM_COMPLETE="complete_bash", **words).split() == ["gpt2", "False"]


def test_the_presets_are_those_of_the_registry():
    assert set(completing.PRESETS) == {name for name in PRESETS if PRESETS.find(name).reference}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(shell):
    # else typer goes by the shell that started it, whatever is asked for
    asked = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "True"}
    shown = python(PROGRAM, "--show-completion", shell, **asked)
    assert "_INITIUM_COMPLETE" in shown


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_real_bash_takes_the_words(tmp_path):
    command = tmp_path / "initium"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{PROGRAM}" "$@"\n')
    command.chmod(0o755)
    script = (
        'eval "$(initium --show-completion bash)"; '
        "COMP_WORDS=(initium presets gp); COMP_CWORD=2; "
        '_initium_completion initium; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("gpt2\n", "")
