"""The scripts in `examples/` run as they stand, and print what they should."""

import re
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

from processes import TORCHRUN, output

EXAMPLES = Path(__file__).parents[1] / "examples"
LOSS = re.compile(r"loss:? (\d+\.\d+)")


@cache
def run(name, processes=0):
    start = [*TORCHRUN, f"--nproc-per-node={processes}"] if processes else [sys.executable]
    with tempfile.TemporaryDirectory() as folder:
        return output([*start, str(EXAMPLES / name)], cwd=folder)


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("single.py", None),
        ("lightning_fit.py", "lightning"),
        ("trainer.py", "accelerate"),
        ("mmengine_runner.py", "cv2"),
    ],
)
def test_it_runs(name, needs):
    if needs is not None:
        pytest.importorskip(needs)
    out = run(name)
    losses = [float(text) for text in LOSS.findall(out)]
    assert losses
    assert losses[-1] <= losses[0]


@pytest.mark.parametrize("name", ["ddp.py", "sharded.py"])
def test_any_number_of_processes_has_the_same_start(name):
    one, two = (LOSS.findall(run(name, processes)) for processes in (1, 2))
    assert len(one) == 3
    assert float(one[-1]) < float(one[0])
    assert [float(x) for x in one] == pytest.approx([float(x) for x in two], abs=2e-4)


def test_data_parallel_is_the_single_process():
    assert LOSS.findall(run("ddp.py", 2)) == LOSS.findall(run("single.py"))


def test_the_guide_shows_the_script_as_it_is():
    page = EXAMPLES.parent / "docs" / "cluster.md"
    assert f"```py\n{(EXAMPLES / 'sharded.py').read_text()}```" in page.read_text()
