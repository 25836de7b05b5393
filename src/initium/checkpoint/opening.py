"""A checkpoint on this machine -> its tensors by name, none of them read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from initium.checkpoint.blob import Blob, LocalFile
from initium.checkpoint.entry import Entry, Given, Unreadable
from initium.checkpoint.formats import (
    folder_checkpoint,
    read_dcp,
    read_index,
    read_safetensors,
    read_torch,
    sibling,
)
from initium.checkpoint.layout import pick
from initium.checkpoint.region import Region
from initium.checkpoint.sources import Options, is_page, locate, remote_file, remote_url
from initium.errors import InitError

Wanted = Callable[[str], bool]


def open_checkpoint(
    checkpoint: Any,
    *,
    key: str | None = None,
    sha256: str | None = None,
    trust_pickle: bool = False,
    offline: bool = False,
    wanted: Wanted = lambda _: True,
    header_only: bool = False,
) -> dict[str, Entry]:
    """The tensors of a checkpoint by the names that they have in it.

    Args:
        checkpoint: a path, folder or URL (see `initium.checkpoint.sources`).
        key: where in the file the state dict is (see `initium.checkpoint.layout`).
        sha256: what the file must have, or its first digits.
        trust_pickle: unpickle the file as Python does, which runs code that it names.
        offline: take downloads from the cache only.
        wanted: of the names; shards without any are not opened, nor fetched.
        header_only: the tensors will not be read: of a remote file fetch the header, if that goes.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; there is no such file.
        InitError: it cannot be fetched or read, is damaged, or has no tensors.
    """
    options = Options(sha256=sha256, offline=offline, check=check_file)
    name = os.fspath(checkpoint)
    if header_only and not trust_pickle and (url := remote_url(name, options)) is not None:
        found = _header(url, key)
        if found is not None:
            return found
    path = locate(name, options)
    if sha256 is not None and path.is_dir():
        raise InitError(f"sha256= is of a file, but {name} is a folder, which has none")
    reader = _Reader(name, replace(options, sha256=None), trust_pickle)
    try:
        entries = reader.read(path, key, wanted)
    except (InitError, OSError) as error:
        raise _unreadable(name, error) from error
    if not entries:
        raise InitError(f"there are no tensors in the checkpoint {name}")
    return entries


def _header(url: str, key: str | None) -> dict[str, Entry] | None:
    """The tensors of a remote file, by its header alone; None: it must be fetched whole."""
    if url.endswith(".index.json"):
        return None
    with remote_file(url) as blob:
        if not blob.partial:
            return None
        try:
            return _named(pick(_read(blob), key), url.rpartition("/")[2])
        except InitError as error:
            raise _unreadable(blob.name, error) from error


@dataclass(frozen=True)
class _Reader:
    """Reads what lies on this machine.

    Attributes:
        name: the path or URL as it was given; shards lie beside it.
    """

    name: str
    options: Options
    trust_pickle: bool

    def read(self, path: Path, key: str | None, wanted: Wanted) -> dict[str, Entry]:
        """The tensors of a file, an index or a folder."""
        path = folder_checkpoint(path) if path.is_dir() else path
        if path.is_dir():
            return read_dcp(path)
        if path.name.endswith(".index.json"):
            return read_index(path, lambda shard: self._shard(path, shard), wanted)
        return self._file(path, key)

    def _shard(self, index: Path, shard: str) -> dict[str, Entry]:
        if "://" in self.name and not self.name.startswith("file://"):
            return self._file(locate(f"{self.name.rpartition('/')[0]}/{shard}", self.options), None)
        return self._file(sibling(index, shard), None)

    def _file(self, path: Path, key: str | None) -> dict[str, Entry]:
        content = _trusted(path) if self.trust_pickle else _read(LocalFile(path))
        return _named(pick(content, key), path.name)


def check_file(path: Path) -> None:
    """Raise an InitError unless a file that was just fetched is a checkpoint."""
    if not path.name.removesuffix(".part").endswith(".index.json"):
        _read(LocalFile(path))


def _read(blob: Blob) -> Any:
    """The content of a file of whichever format, told by its first bytes."""
    start = blob.read(0, min(blob.size, 256))
    if not start:
        raise InitError("it is empty")
    if is_page(start):
        raise InitError("it is an HTML page, no checkpoint")
    if blob.name.endswith(".safetensors") or start[8:9] == b"{":
        return read_safetensors(blob)
    return read_torch(blob)


def _trusted(path: Path) -> Any:
    """What Python's pickle makes of a file: this runs code that the file names."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # whatever the code that the file names raises
        raise InitError(f"{type(error).__name__}: {error}") from error
    return _with_entries(content)


def _with_entries(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return Given(value.detach(), "")
    if isinstance(value, torch.nn.Module):
        value = value.state_dict()
    if isinstance(value, dict):
        return {key: _with_entries(item) for key, item in value.items()}
    return value


def _named(entries: dict[str, Entry], file: str) -> dict[str, Entry]:
    """The same entries, with the file and the key as their text."""
    return {key: _with_text(entry, f"{file}: {key}") for key, entry in entries.items()}


def _with_text(entry: Entry, text: str) -> Entry:
    if entry.text == text or not isinstance(entry, (Region, Given, Unreadable)):
        return entry
    return replace(entry, text=text)


def _unreadable(name: str, error: Exception) -> InitError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    kind = type(error) if isinstance(error, InitError) else InitError
    return kind(f"cannot read the checkpoint {name}: {reason}")
