"""Checkpoints of several files beside each other, and which file of a folder is the checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path, PureWindowsPath

from initium.checkpoint.entry import Entry
from initium.checkpoint.formats.safetensors_file import json_object
from initium.errors import InitError, InitFileNotFoundError, listing, located

_MOST = 100_000_000  # bytes of an index
_NAMED = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
_SHARD = re.compile(r"-\d+-of-0*([2-9]|[1-9]\d+)\.")


def _everything(_: str) -> bool:
    return True


def read_index(
    path: Path,
    open_shard: Callable[[str], dict[str, Entry]],
    wanted: Callable[[str], bool] = _everything,
) -> dict[str, Entry]:
    """The wanted tensors of a checkpoint in several files, by name, in the order of its index.

    Args:
        path: of the index (`model.safetensors.index.json`), on this machine.
        open_shard: from a file name in the index to the tensors of that file; it is called once for
            each file that holds a wanted tensor.
        wanted: whether a key is wanted.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; there is no such index.
        InitError: the index is damaged, names a file outside of its folder, or promises a key that
            the file does not have.
    """
    files = {key: file for key, file in _weight_map(path).items() if wanted(key)}
    shards: dict[str, dict[str, Entry]] = {}
    for key, file in files.items():
        if file not in shards:
            with located(file):
                shards[file] = open_shard(file)
        if key not in shards[file]:
            raise InitError(
                f"{path.name} says that {key} is in {file}, but that file does not have it; "
                f"it has: {listing(shards[file])}"
            )
    return {key: shards[file][key] for key, file in files.items()}


def _weight_map(path: Path) -> dict[str, str]:
    """Key -> file name, each of which is a plain one."""
    with located(path.name):
        found = json_object(_content(path)).get("weight_map")
        if not isinstance(found, dict):
            raise InitError("it has no weight_map from keys to file names")
        for key, file in found.items():
            with located(f"weight_map[{key!r}]"):
                check_plain(file)
    return found


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
    except FileNotFoundError:
        raise InitFileNotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise InitError(f"it cannot be read: {error}") from error
    if len(content) > _MOST:
        raise InitError(f"it is larger than {_MOST} bytes, too large for an index")
    return content


def check_plain(name: object) -> None:
    """Raise an `InitError` where a file name leads, or may lead, out of the folder it is used in.

    It must be a relative path without `.`, `..`, backslashes and drive letters.

    >>> check_plain("model-00001-of-00002.safetensors")
    >>> check_plain("../secret")
    Traceback (most recent call last):
    initium.errors.InitError: the file name '../secret' may lead out of the folder; only plain \
relative names are allowed
    """
    if not isinstance(name, str):
        raise InitError(f"a file name must be a str, but is {name!r}")
    parts = name.split("/")
    strange = "\\" in name or "\0" in name or bool(PureWindowsPath(name).drive)
    if strange or any(part in ("", ".", "..") for part in parts):
        raise InitError(
            f"the file name {name!r} may lead out of the folder; only plain relative names are "
            "allowed"
        )


def sibling(index: Path, name: str) -> Path:
    """The path of a shard beside an index; a symbolic link must not lead out of the folder.

    In the cache of the Hugging Face hub, where a file is a link into `blobs`, that is allowed.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; the shard is not there.
        InitError: the name or a link leads out of the folder.
    """
    path = inside(index.parent, name)
    if not is_file(path):
        names = sorted(set(_weight_map(index).values()))
        there = sum(is_file(index.parent / each) for each in names)
        raise InitFileNotFoundError(
            f"there is no file {path}, of which {index.name} speaks; {there} of its {len(names)} "
            "files are there. Was the download finished?"
        )
    return path


def inside(folder: Path, name: str) -> Path:
    """The path of `name` within `folder`, after a look at where its symbolic links lead.

    Raises:
        InitError: out of the folder, and not into the `blobs` of a hub cache that it is part of.
    """
    check_plain(name)
    try:
        real, target = folder.resolve(), (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle; half a character
        raise InitError(f"{folder / name} cannot be followed: {error}") from error
    if not any(target.is_relative_to(root) for root in (real, *_blobs(real))):
        raise InitError(
            f"{folder / name} is a symbolic link to {target}, out of its folder; copy the file to "
            "where the link is, or give the path of the folder that holds the files themselves"
        )
    return folder / name


def _blobs(folder: Path) -> list[Path]:
    """`models--x/blobs` for a folder `models--x/snapshots/<revision>` or one below that."""
    places = (folder, *folder.parents)
    caches = [place.parents[1] for place in places if place.parent.name == "snapshots"]
    return [cache / "blobs" for cache in caches[:1]]


def folder_checkpoint(folder: Path) -> Path:
    """Which file of a folder is the checkpoint; of a DCP folder, the folder itself.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; there is no such folder.
        InitError: it holds no checkpoint, or several; what is there is listed.
    """
    if not folder.is_dir():
        raise InitFileNotFoundError(f"there is no folder {folder}")
    if is_file(folder / ".metadata"):
        return folder
    for name in _NAMED:
        if is_file(folder / name):
            return folder / name
    files = [path for path in sorted(folder.iterdir()) if is_file(path)]
    found = [path for path in files if path.suffix in _SUFFIXES]
    if len(found) != 1:
        raise _undecided(folder, [path.name for path in found])
    if _SHARD.search(found[0].name):
        raise InitError(f"{found[0]} is one shard of several, and the index is not there")
    return found[0]


def _undecided(folder: Path, found: Iterable[str]) -> InitError:
    several = listing(found)
    if several:
        return InitError(f"{folder} holds several checkpoints; give the path of one: {several}")
    there = listing(sorted(path.name for path in folder.iterdir())) or "nothing"
    return InitError(
        f"{folder} holds no checkpoint. There is: {there}. Looked for: .metadata (DCP), "
        f"{', '.join(_NAMED)}, or one file *{', *'.join(_SUFFIXES)}"
    )


def is_file(path: Path) -> bool:
    """Whether there is such a file; not, if it has a name that the file system does not take."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
