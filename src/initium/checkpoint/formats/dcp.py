"""Folders that torch.distributed.checkpoint wrote: `.metadata` beside `__0_0.distcp`, …

`.metadata` is a pickle of a `Metadata`, which says of each tensor into which chunks it was cut, and
where each chunk lies: in a file of several archives of `torch.save`, one after the other. torch
unpickles it, and so runs whatever it holds; here it is read by `pickles`, which runs nothing.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from initium.checkpoint.entry import Entry, Unreadable
from initium.checkpoint.formats.chunks import Assembled, Chunk, Place, check_tiled
from initium.checkpoint.formats.pickles import read_pickle
from initium.checkpoint.formats.safetensors_file import check_countable
from initium.checkpoint.formats.sharded import check_plain, inside, is_file
from initium.checkpoint.formats.values import Global, Opaque
from initium.errors import InitError, InitFileNotFoundError, located


def read_dcp(folder: Path) -> dict[str, Entry]:
    """The tensors of a DCP folder by name, in the order of its metadata; what is none is left out.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; there is no `.metadata`, or a file it names.
        InitError: the metadata are damaged, tensors and files do not fit them, or the chunks were
            compressed.
    """
    with located(".metadata"):
        metadata = _fields(_metadata(folder), "Metadata")
        tensors = _dict(metadata, "state_dict_metadata")
        stored = _Stored(folder, _storage(_dict(metadata, "storage_data")))
    entries = {}
    for key, value in tensors.items():
        if not isinstance(key, str):
            raise InitError(f".metadata: a key must be a str, but is a {type(key).__name__}")
        if _kind(value) != "BytesStorageMetadata":
            with located(key):
                text = f"{folder.name}: {key}"
                entries[key] = _entry(key, _fields(value, "TensorStorageMetadata"), stored, text)
    return entries


@dataclass(frozen=True)
class _Stored:
    """Where chunks lie, and which files there are."""

    folder: Path
    places: Mapping[tuple[str, Place], Mapping[str, Any]]
    files: dict[str, tuple[Path, int]] = field(default_factory=dict)  # path and size, by name

    def chunk(self, key: str, offsets: Place, sizes: Place, itemsize: int) -> Chunk:
        """The chunk of a tensor at `offsets`."""
        info = self.places.get((key, offsets))
        if info is None:
            raise InitError(f".metadata does not say where the chunk at {list(offsets)} lies")
        if info.get("transform_descriptors"):
            raise InitError(
                f"its chunks are transformed: {reprlib.repr(info['transform_descriptors'])}"
            )
        start, length = _size(info.get("offset")), _size(info.get("length"))
        path, size = self._file(info.get("relative_path"))
        nbytes = math.prod(sizes) * itemsize
        if start + length > size or length < nbytes:
            raise InitError(
                f"{path} has {size} bytes; its chunk of {nbytes} bytes cannot lie at {start} to "
                f"{start + length}. The file is cut short or damaged"
            )
        return Chunk(path, start, length, offsets, sizes)

    def _file(self, name: Any) -> tuple[Path, int]:
        check_plain(name)
        if name not in self.files:
            path = inside(self.folder, name)
            if not is_file(path):
                raise InitFileNotFoundError(f"there is no file {path}, which holds a part of it")
            self.files[name] = path, path.stat().st_size
        return self.files[name]


def _metadata(folder: Path) -> Any:
    try:
        with (folder / ".metadata").open("rb") as file:
            return read_pickle(file)
    except FileNotFoundError:
        raise InitFileNotFoundError(f"there is none in {folder}; it is no DCP folder") from None
    except OSError as error:
        raise InitError(f"it cannot be read: {error}") from error


def _storage(storage: Mapping[Any, Any]) -> dict[tuple[str, Place], Mapping[str, Any]]:
    """(Key, offsets) -> file, start and length of a chunk's archive."""
    found = {}
    for index, info in storage.items():
        place = _fields(index, "MetadataIndex")
        if place.get("offset") is not None:  # None: no tensor
            found[str(place.get("fqn")), _place(place["offset"])] = _fields(info, "_StorageInfo")
    return found


def _fields(value: Any, kind: str) -> Mapping[str, Any]:
    """The fields of an instance of the dataclass `kind`; its module has moved between versions."""
    if _kind(value) != kind or not isinstance(value.state, dict):
        raise InitError(f"it holds a {_kind(value)} where a {kind} must be; it is damaged")
    return value.state


def _kind(value: Any) -> str:
    return value.name.rpartition(".")[2] if isinstance(value, Opaque) else type(value).__name__


def _dict(fields: Mapping[str, Any], name: str) -> Mapping[Any, Any]:
    found = fields.get(name)
    if not isinstance(found, dict):
        raise InitError(f"its {name} must be a dict, but is a {_kind(found)}; it is damaged")
    return found


def _place(value: Any) -> Place:
    if not isinstance(value, tuple):
        raise InitError(f".metadata holds a {_kind(value)} where sizes must be; it is damaged")
    return tuple(map(_size, value))


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise InitError(f".metadata says {reprlib.repr(value)} where a size must be; it is damaged")
    return value


def _dtype_name(properties: Any) -> str:
    """`torch.float32`; the state of `TensorProperties` is a tuple, of which it is the first."""
    state = properties.state if _kind(properties) == "TensorProperties" else None
    dtype = state[0] if isinstance(state, tuple) and state else None
    if not isinstance(dtype, Global):
        raise InitError(".metadata does not say its dtype; it is damaged")
    return dtype.name


def _entry(key: str, fields: Mapping[str, Any], stored: _Stored, text: str) -> Entry:
    shape, name = _place(fields.get("size")), _dtype_name(fields.get("properties"))
    found = vars(torch).get(name.removeprefix("torch."))
    dtype = found if isinstance(found, torch.dtype) else None
    check_countable(shape, 8 if dtype is None else 8 * dtype.itemsize)
    if dtype is None or name.startswith("torch.q"):
        reason = f"torch has no dtype {name}" if dtype is None else f"it is quantised ({name})"
        return Unreadable(shape, torch.uint8, text, reason)
    chunks = fields.get("chunks")
    if not isinstance(chunks, list):
        raise InitError(f".metadata holds a {_kind(chunks)} where chunks must be; it is damaged")
    boxes = [_fields(chunk, "ChunkStorageMetadata") for chunk in chunks]
    places = [(_place(box.get("offsets")), _place(box.get("sizes"))) for box in boxes]
    places = [(at, sizes) for at, sizes in places if 0 not in sizes]  # of ranks that have no part
    check_tiled(shape, places)
    return Assembled(
        shape,
        dtype,
        text,
        tuple(stored.chunk(key, at, sizes, dtype.itemsize) for at, sizes in places),
    )
