"""How the command line fails: exit codes, one line, no file, and nothing but results on stdout."""

import json
import sys

import pytest
from typer.testing import CliRunner

from initium.cli import app

TARGETS = """
from torch import nn
print("imported")
def build():
    print("building")
    return nn.Linear(2, 2)
def needs(width, depth=2):
    return nn.Linear(width, width)
def raises():
    return helper()
def helper():
    raise RuntimeError("no such device")
made = nn.Linear(2, 2)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(TARGETS)
    (tmp_path / "syntax.py").write_text("x = 1\ndef build(:\n")
    (tmp_path / "imports.py").write_text("import no_such_library\n")
    (tmp_path / "c.yaml").write_text("- {type: Normal, layer: Linear}\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("net.py:needs", "TARGET is called without arguments, but net.py:needs needs width; write"),
        ("torch.nn:Linear", "torch.nn:Linear needs in_features, out_features"),
        ("net.py:made", "net.py:made is a module, made when net.py was imported; give a function"),
        ("syntax.py:build", "syntax.py, line 2: invalid syntax"),
        ("imports.py:build", "cannot import imports.py: No module named 'no_such_library'"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "init", "simulate"])
def test_a_target_that_makes_no_model_is_one_line(here, command, target, message):
    out = ["-o", "x.safetensors"] if command == "init" else []
    done = run(command, target, "c.yaml", *out)
    assert done.exit_code == 2 and message in done.stderr
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.output
    assert not list(here.glob("x.*"))


def test_what_fails_in_the_users_code_is_a_traceback_of_that_code_alone(here):
    done = run("plan", "net.py:raises", "c.yaml")
    assert done.exit_code == 3 and done.stdout == ""
    frames = [line for line in done.stderr.splitlines() if line.lstrip().startswith("File ")]
    assert len(frames) == 2 and all("net.py" in frame for frame in frames)
    assert done.stderr.rstrip().endswith("RuntimeError: no such device")


def test_what_fails_in_initium_asks_for_a_report(here, monkeypatch):
    monkeypatch.setattr("initium.build", lambda *_, **__: 1 / 0)
    done = run("plan", "net.py:build")
    assert done.exit_code == 3 and "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "net.py:build", "c.yaml", "-o", "folder"],
        ["schema", "-o", "folder"],
        ["plan", "net.py:build", "c.yaml", "-o", "net.py/plan.json"],
        ["init", "net.py:build", "c.yaml", "-o", "net.py/x.safetensors"],
        ["schema", "-o", "c.yaml/schema.json"],
        ["demo", "--out", "net.py"],  # says what it needs, or that this is no folder
    ],
)
def test_a_place_that_takes_no_file_is_a_mistake_and_leaves_none(here, arguments):
    before = sorted(here.rglob("*"))
    done = run(*arguments)
    assert done.exit_code == 2 and "error: " in done.stderr and "Traceback" not in done.output
    assert [p for p in sorted(here.rglob("*")) if "__pycache__" not in str(p)] == before


def test_folders_of_files_to_be_written_are_made(here):
    assert run("plan", "net.py:build", "-o", "new/plan.json").exit_code == 0
    assert run("schema", "-o", "new/schema.json").exit_code == 0
    assert json.loads((here / "new/schema.json").read_text())["title"]
    assert not list(here.rglob("*.part"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "net.py:build", "c.yaml"],
        ["init", "net.py:build", "c.yaml", "-o", "x.safetensors"],
        ["simulate", "net.py:build", "--world", "2", "--draw", "0", "--speed", "1e6"],
    ],
)
def test_what_a_model_prints_is_no_result(here, arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)
    assert "building" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "net.py:build", "folder"], "the config folder is a folder; give a file in it"),
        (["presets", "-a", "n_layer=3"], "--arg belongs to a preset"),
        (["presets", "gpt2", "-a", "n_layer=[1"], "--arg n_layer=[1: cannot read the config after ="),
        (["verify", "a.json", "b.pth", "--sample", "3", "--all"], "sample must be left out with --all"),
        (["plan", "net.py:build", "--rng", "numpy"], "rng must be 'philox' or 'torch'"),
    ],
)  # fmt: skip
def test_mistakes(here, arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2 and message in done.stderr and done.stdout == ""


def test_the_version_and_help_by_their_usual_names(here):
    import initium

    assert run("--version").stdout == f"initium {initium.__version__}\n"
    assert run("-h").stdout == run("--help").stdout
    assert "TARGET" in run("plan", "-h").stdout
    assert "Missing argument 'TARGET'" in run("plan").stderr


def test_ctrl_c_is_no_traceback(here, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("initium.build", interrupted)
    done = run("plan", "net.py:build", "-o", "plan.json")
    assert done.exit_code == 130 and done.stderr.splitlines()[-1] == "stopped"
    assert not list(here.glob("plan.json*"))


def test_standard_output_is_given_back(here):
    before = sys.stdout
    run("plan", "net.py:raises")
    assert sys.stdout is before
