"""Coverage-guided fuzzing of the checkpoint readers: `make fuzz`. Not part of the tests.

    python benchmarks/fuzz_checkpoints.py [-max_total_time=300] [other options of libFuzzer]

A reader may return, or raise InitError; anything else is a crash, whose input libFuzzer keeps.
"""

import io
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["initium.checkpoint"]):
    from initium.checkpoint.opening import open_checkpoint

import torch
from safetensors.torch import save

from initium import InitError

FOLDER = Path(tempfile.mkdtemp(prefix="initium-fuzz-"))


def seeds(folder: Path) -> None:
    """Small valid files, to begin with."""
    state = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(3, dtype=torch.bfloat16)[::2]}
    for name, new in {"zip": True, "legacy": False}.items():
        buffer = io.BytesIO()
        torch.save({"state_dict": state, "epoch": 1}, buffer, _use_new_zipfile_serialization=new)
        (folder / name).write_bytes(buffer.getvalue())
    contiguous = {key: tensor.contiguous() for key, tensor in state.items()}
    (folder / "safetensors").write_bytes(save(contiguous))


def one_input(data: bytes) -> None:
    path = FOLDER / "x"
    path.write_bytes(data)
    try:
        for entry in open_checkpoint(path).values():
            if entry.problem() is None and entry.nbytes < 1 << 20:
                entry.read()
    except InitError:
        pass


if __name__ == "__main__":
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    seeds(corpus)
    options = sys.argv[1:] or ["-max_total_time=300"]
    atheris.Setup([sys.argv[0], str(corpus), "-max_len=4096", *options], one_input)
    atheris.Fuzz()
