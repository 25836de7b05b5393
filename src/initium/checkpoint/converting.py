"""A checkpoint in one format -> the same tensors in another."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from initium.checkpoint.converters import build_converters
from initium.checkpoint.recipe import Files, Recipe
from initium.errors import InitError, listing
from initium.given import check_is

_TORCH = (".pth", ".pt", ".bin", ".ckpt")


def convert_checkpoint(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    key: str | None = None,
    prefix: str | None = None,
    rename: Sequence[Any] = (),
    convert: Sequence[Any] = (),
    trust_pickle: bool = False,
    force: bool = False,
) -> list[str]:
    """Write the tensors of a checkpoint to another file: all of it, or nothing.

    Args:
        checkpoint: a path, folder or URL, as in `Pretrained`.
        out: what to write, by its ending: `.safetensors`; `.pth`, `.pt`, `.bin` or `.ckpt` for
            `torch.save`; a name without ending for a folder of `torch.distributed.checkpoint`.
        key: where in the file the state dict is.
        prefix: only the keys that start with it, without it.
        rename: pairs of patterns and replacements, as in `Pretrained`.
        convert: converters, as in `Pretrained`.
        trust_pickle: unpickle it as Python does, which runs any code that it names.
        force: replace what is there.

    Returns:
        the names of the tensors.

    Raises:
        InitError: `out` is there already, its ending is unknown, or the checkpoint cannot be read.
    """
    for name, value in (("checkpoint", checkpoint), ("out", out)):
        check_is(name, value, (str, os.PathLike), "a path")
    path = Path(out)
    write = _writer(path)
    if path.exists() and not force:
        raise InitError(f"{path} is there already; say --force (force=True) to replace it")
    converters = build_converters(convert, rename)
    recipe = Recipe(os.fspath(checkpoint), key, prefix, converters, trust_pickle=trust_pickle)
    entries = Files().opened(recipe).entries
    problems = [f"{name}: {problem}" for name, e in entries.items() if (problem := e.problem())]
    if problems:
        raise InitError(f"{checkpoint} cannot be converted: {listing(problems)}")
    _whole(path, write, {name: entry.read().contiguous() for name, entry in entries.items()})
    return list(entries)


def _whole(path: Path, write: Callable[[dict[str, Tensor], Path], None], tensors: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    _remove(part)
    try:
        write(tensors, part)
        _remove(path)
        part.replace(path)
    finally:
        _remove(part)


def _writer(path: Path) -> Callable[[dict[str, Tensor], Path], None]:
    if path.suffix == ".safetensors":
        return _safetensors
    if path.suffix in _TORCH:
        return _torch
    if not path.suffix:
        return _dcp
    raise InitError(
        f"cannot write {path}: its ending must be .safetensors, {', '.join(_TORCH)}, or none for a "
        "folder of torch.distributed.checkpoint"
    )


def _safetensors(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    save_file(tensors, path, metadata={"format": "pt"})


def _torch(tensors: dict[str, Tensor], path: Path) -> None:
    import torch

    torch.save(tensors, path)


def _dcp(tensors: dict[str, Tensor], path: Path) -> None:
    from torch.distributed.checkpoint.state_dict_saver import save

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is")  # one process is what is meant
        save(tensors, checkpoint_id=path, no_dist=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
