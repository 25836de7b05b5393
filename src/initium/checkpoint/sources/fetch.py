"""URL -> a file in the cache: downloaded once per machine, whole, and checked."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from initium.checkpoint.sources.failures import shown
from initium.checkpoint.sources.hashes import (
    check_name,
    check_sha256,
    recorded_sha256,
    valid_sha256,
    write_record,
)
from initium.checkpoint.sources.part import Part
from initium.checkpoint.sources.place import Place
from initium.checkpoint.sources.retry import download, is_page, page_error
from initium.errors import InitError, located

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Options:
    """How a checkpoint is to be found.

    Attributes:
        sha256: what it must hash to: the 64 hexadecimal digits, or at least the first 8.
        offline: only what is on this machine already (as the environment variable
            INITIUM_OFFLINE=1 says for all).
        check: is called with a downloaded file before it enters the cache, and raises an
            `InitError` when it is no checkpoint.

    Raises:
        InitError: `sha256` is no such digits.
    """

    sha256: str | None = None
    offline: bool = False
    check: Callable[[Path], None] | None = None

    def __post_init__(self) -> None:
        if self.sha256 is not None:
            valid_sha256(self.sha256)

    @property
    def is_offline(self) -> bool:
        """Whether nothing may be downloaded, by `offline` or by the environment."""
        said = os.environ.get("INITIUM_OFFLINE", "").strip().lower()
        return self.offline or said not in ("", "0", "false", "no", "off")


def fetch(url: str, options: Options = Options()) -> Path:
    """The file that a URL names, in the cache; it is downloaded where it is not there yet.

    A download that broke off, even by `kill -9`, is gone on with if the remote file is still the
    same. Where several processes ask for the same file, one downloads it and the others wait.

    Args:
        url: of any protocol that fsspec knows.
        options: see `Options`. A file in the cache with another SHA-256 than `options.sha256` is
            downloaded anew, and replaced once the new one is as asked for.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; there is no such file.
        InitError: it cannot be had, or is not what was asked for; the cache is as before. After
            failures of the network a part of it stays, to be gone on with.
    """
    place = Place.of(url)
    found = place.find(options.sha256)
    if found is not None:
        return found
    if options.is_offline:
        raise _offline(url, place, options)
    with _cache_errors(place), place.locked():
        return place.find(options.sha256) or _bring(url, place, options)


def _bring(url: str, place: Place, options: Options) -> Path:
    with Part(place.file.with_name(f"{place.name}.part"), shown(url)) as part:
        try:
            download(url, part)
            part.finish()
        except OSError as error:
            if not isinstance(error, InitError):
                part.discard()
            raise
        try:
            _check(url, place, part, options)
        except Exception:  # a user's own check may raise anything
            part.discard()
            raise
        write_record(place.file, shown(url), part.sha256, of=part.path)
        part.move(place.file)
    return place.file


def _check(url: str, place: Place, part: Part, options: Options) -> None:
    with part.path.open("rb") as file:
        start = file.read(256)
    if not start:
        raise InitError(f"{shown(url)} is empty (0 bytes)")
    if is_page(start):
        raise page_error(url)
    if options.sha256 is None:
        check_name(part.sha256, place.name, shown(url))
    check_sha256(part.sha256, options.sha256, shown(url))
    if options.check is not None:
        with located(shown(url)):
            options.check(part.path)


def _offline(url: str, place: Place, options: Options) -> InitError:
    why = "offline=True" if options.offline else "INITIUM_OFFLINE is set"
    actual = recorded_sha256(place.file)
    if actual is None:
        return InitError(
            f"{shown(url)} is not in the cache ({place.file}), and is not downloaded: {why}"
        )
    return InitError(
        f"{shown(url)} is in the cache, but with the SHA-256 {actual} and not "
        f"sha256={options.sha256!r}, and is not downloaded again: {why}"
    )


@contextmanager
def _cache_errors(place: Place) -> Iterator[None]:
    try:
        yield
    except InitError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        advice = "set INITIUM_CACHE to a folder that can be written"
        if error.errno in _FULL:
            advice = "make room, or set INITIUM_CACHE to a folder on another disk"
        raise InitError(
            f"cannot write to the cache {place.downloads}: {reason}; {advice}"
        ) from error
