"""Checkpoint file -> names, shapes and, when asked for, tensors. It reads; it never writes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from initium.errors import InitError, InitFileNotFoundError

_WRAPPERS = ("state_dict", "model")  # where Runner, Lightning and others keep the tensors
_URL = re.compile(r"^[a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint, not read yet."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def read_checkpoint(checkpoint: Any, map_location: Any = "cpu") -> dict[str, Entry]:
    """The tensors of a checkpoint file by name, `module.` of data parallel taken off.

    `.safetensors` is read from its header; anything else by `torch.load` with
    `weights_only=True`, from a memory map where the format allows one.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; there is no such file.
        InitError: a URL, a damaged file, a pickle that is not just tensors, or no tensors in it.
    """
    text = os.fspath(checkpoint)
    if _URL.match(text):
        raise InitError(f"{text} is a URL; fetch the file and give its path")
    path = Path(text).expanduser()
    if not path.is_file():
        raise InitFileNotFoundError(f"there is no checkpoint file {text}")
    read = _safetensors if path.suffix == ".safetensors" else _torch
    try:
        entries = read(path, map_location)
    except InitError:
        raise
    except Exception as error:  # whatever a damaged file makes the readers raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InitError(f"cannot read the checkpoint {text}: {reason}") from error
    if not entries:
        raise InitError(f"there are no tensors in the checkpoint {text}")
    return _without("module.", entries)


def _safetensors(path: Path, map_location: Any) -> dict[str, Entry]:
    from safetensors import safe_open

    device = str(map_location or "cpu")

    def reader(key: str) -> Callable[[], Tensor]:
        def read() -> Tensor:
            with safe_open(path, framework="pt", device=device) as file:
                tensor: Tensor = file.get_tensor(key)
                return tensor

        return read

    with safe_open(path, framework="pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (not a dict)
    return {key: Entry(shape, reader(key)) for key, shape in shapes.items()}


def _torch(path: Path, map_location: Any) -> dict[str, Entry]:
    # the format before torch 1.6 is no zip archive and cannot be memory-mapped
    content = torch.load(path, map_location=map_location, weights_only=True, mmap=_is_zip(path))
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise InitError(f"the checkpoint {path} holds a {type(content).__name__}, no state dict")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return {key: Entry(tuple(t.shape), partial(_given, t)) for key, t in tensors.items()}


def _given(tensor: Tensor) -> Tensor:
    return tensor


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _without(prefix: str, entries: dict[str, Entry]) -> dict[str, Entry]:
    if not all(key.startswith(prefix) for key in entries):
        return entries
    return {key.removeprefix(prefix): entry for key, entry in entries.items()}
