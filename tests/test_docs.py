"""Every block of README and docs runs, in Python or the shell, and prints what stands below it."""

import contextlib
import io
import re
import shlex
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from initium.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n?```text\n(.*?)^```)?", re.M | re.S)


def bare(text):
    return [line.rstrip() for line in text.strip("\n").splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for code, shown in BLOCK.findall(page.read_text()):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(code, f"{page.stem}.py", "exec"), namespace)
        if shown:
            assert bare(out.getvalue()) == bare(shown)


FILES = re.compile(r"^```\w+\n(?=# ([\w.]+)\n)(.*?)^```", re.M | re.S)
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.M | re.S)


def test_the_session_on_the_command_line(tmp_path, monkeypatch):
    """Each command prints what stands below it; a line `…` stands for any number of lines."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/cli.md").read_text()
    for name, content in FILES.findall(text):
        (tmp_path / name).write_text(content)
    ran = 0
    for block in CONSOLE.findall(text)[1:]:  # the first one is on help
        for command, shown in re.findall(r"^\$ initium (.*)\n((?:(?!\$ ).*\n)*)", block, re.M):
            done = CliRunner().invoke(app, shlex.split(command))
            assert done.exit_code == (1 if command.startswith("diff") else 0), done.output
            pattern = re.escape("\n".join(bare(shown))).replace("…", "(.|\n)*")
            assert re.fullmatch(pattern, "\n".join(bare(done.stdout))), done.stdout
            ran += 1
    assert ran == 8


def test_every_command_is_in_the_table():
    told = re.findall(r"^\| `(\w+)", (ROOT / "docs/cli.md").read_text(), re.M)
    assert sorted(told) == sorted(command.name for command in app.registered_commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link
