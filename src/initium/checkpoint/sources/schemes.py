"""What a user writes as `checkpoint=` -> a path on this machine. Each URL scheme has its source."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from initium.checkpoint.sources import zoos
from initium.checkpoint.sources.fetch import Options as Options
from initium.checkpoint.sources.fetch import fetch
from initium.checkpoint.sources.hashes import check_sha256, recorded_sha256, sha256_of
from initium.checkpoint.sources.place import Place, downloads
from initium.errors import (
    InitError,
    InitFileNotFoundError,
    InitTypeError,
    did_you_mean,
    listing,
)
from initium.registry import Registry

# one letter is the drive of a Windows path
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_DEFAULT = Options()
_HOPS = 8  # names that stand for names that stand for URLs; more is a circle

CHECKPOINT_SOURCES = Registry("checkpoint source")
"""URL scheme -> a function `(url, options)` that returns a `Path` on this machine, or a str: another
URL to go on with. A scheme that is not in it, but is known to fsspec, is fetched, too.

>>> @CHECKPOINT_SOURCES.register("models")
... def models(url: str, options: Options) -> str:
...     return url.replace("models://", "https://models.example.org/")
"""


def locate(checkpoint: str | os.PathLike[str], options: Options = _DEFAULT) -> Path:
    """The file or folder on this machine that `checkpoint` means; it is downloaded if need be.

    Args:
        checkpoint: a path (`~` is the home folder), or a URL of any scheme in `CHECKPOINT_SOURCES`
            or known to fsspec.
        options: see `Options`; with `sha256`, a file is checked wherever it comes from.

    Raises:
        InitTypeError: a TypeError; it is neither a str nor a path.
        InitFileNotFoundError: a FileNotFoundError; there is no such file.
        InitError: a scheme or name that is not known, a package that is missing, a download that
            failed, or another SHA-256 than the one asked for.
    """
    text = _text(checkpoint)
    for _ in range(_HOPS):
        found = _step(text, options)
        if isinstance(found, Path):
            _check(found, options)
            return found
        text = found
    raise InitError(
        f"{checkpoint} leads from one URL to the next and nowhere else; the last is {text}"
    )


def remote_url(checkpoint: str, options: Options) -> str | None:
    """The URL of the remote file that `checkpoint` means; None where it is on this machine."""
    text = _text(checkpoint)
    for _ in range(_HOPS):
        scheme = _SCHEME.match(text)
        if scheme is None:
            return None
        name = scheme[1].lower()
        source = CHECKPOINT_SOURCES.get(name) or _known_to_fsspec(name, text)
        if source in (fetch, zoos.hugging_face):
            cached = Place.of(text).find(None) is not None
            return None if options.is_offline or cached else text
        found = source(text, options)
        if isinstance(found, Path):
            return None
        text = found
    return None


def _text(checkpoint: object) -> str:
    if not isinstance(checkpoint, (str, os.PathLike)):
        kind = type(checkpoint).__name__
        raise InitTypeError(f"checkpoint must be a path or a URL, but got {kind}: {checkpoint!r}")
    text = os.fsdecode(checkpoint)
    if not text:
        raise InitFileNotFoundError("there is no checkpoint file '': checkpoint is an empty string")
    return text


def _step(text: str, options: Options) -> Path | str:
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _local(text)
    name = scheme[1].lower()
    source = CHECKPOINT_SOURCES.get(name)
    if source is None:
        source = _known_to_fsspec(name, text)
    found: Path | str = source(text, options)
    return found


def _known_to_fsspec(scheme: str, text: str) -> Callable[..., Path | str]:
    import fsspec

    known = {*fsspec.available_protocols(), *fsspec.registry}  # the latter: registered by the user
    if scheme in known:
        return fetch
    own = sorted(CHECKPOINT_SOURCES)
    raise InitError(
        f"the scheme {scheme}:// of {text} is not known.{did_you_mean(scheme, [*own, *sorted(known)])} "
        f"Known are: {', '.join(own)}; and those of fsspec: "
        f"{listing(sorted(known - set(own)), most=99)}"
    )


def _local(text: str) -> Path:
    try:
        path = Path(text).expanduser()
        if path.exists():
            return path
    except (OSError, ValueError, RuntimeError):  # a name too long, a null byte, an unknown ~user
        raise InitFileNotFoundError(f"there is no checkpoint file {text}") from None
    raise InitFileNotFoundError(f"there is no checkpoint file {text}{_hint(path)}")


def _hint(path: Path) -> str:
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path), re.IGNORECASE):
        return "; a URL must be a str, for Path makes one slash of two"
    folder = path.parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    try:
        near = did_you_mean(path.name, (p.name for p in folder.iterdir()))
    except OSError:
        return ""
    return f".{near}" if near else ""


def _check(path: Path, options: Options) -> None:
    """A folder has no hash; what lies in the cache has been hashed."""
    if options.sha256 is None or path.is_dir():
        return
    actual = recorded_sha256(path) if path.is_relative_to(downloads()) else None
    check_sha256(actual or sha256_of(path), options.sha256, str(path))


@CHECKPOINT_SOURCES.register("file")
def local_file(url: str, options: Options) -> Path:  # noqa: ARG001 (a source takes two)
    """The path that a `file://` URL names; `%20` and the like stand for characters."""
    parts = urlsplit(url.replace("#", "%23").replace("?", "%3F"))
    if parts.netloc not in ("", "localhost"):
        raise InitError(
            f"{url} names the machine {parts.netloc!r}; a file on this machine has three slashes: "
            f"file:///{parts.netloc}{parts.path}"
        )
    path = unquote(parts.path)
    # file:///C:/x.pth
    return _local(path[1:] if re.match(r"/[a-zA-Z]:", path) else path)


CHECKPOINT_SOURCES.register_module(["http", "https", "s3", "gs", "gcs", "memory"], module=fetch)
CHECKPOINT_SOURCES.register_module("hf", module=zoos.hugging_face)
CHECKPOINT_SOURCES.register_module(["torchvision", "modelzoo"], module=zoos.torchvision)
CHECKPOINT_SOURCES.register_module(["open-mmlab", "openmmlab"], module=zoos.open_mmlab)
CHECKPOINT_SOURCES.register_module("mmcls", module=zoos.mmcls)
