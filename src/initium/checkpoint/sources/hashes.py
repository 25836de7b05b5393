"""What a file holds, in 64 digits: the SHA-256 of files, in file names, and in notes beside files."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from initium.errors import InitError

BLOCK = 4 << 20  # bytes that are hashed at a time
_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[\w.]+$")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        feed(digest, file, path.stat().st_size)
    return digest.hexdigest()


def feed(digest: Any, file: BinaryIO, length: int) -> int:
    """Hash the next `length` bytes of a file; return how many there were."""
    left = length
    while left and (block := file.read(min(BLOCK, left))):
        digest.update(block)
        left -= len(block)
    return length - left


def valid_sha256(text: object) -> str:
    """The digits of `sha256=` in lower case.

    Raises:
        InitError: it is no hexadecimal number of 8 to 64 digits.

    >>> valid_sha256("0676BA61")
    '0676ba61'
    """
    if isinstance(text, str) and re.fullmatch(r"[0-9a-fA-F]{8,64}", text):
        return text.lower()
    raise InitError(
        f"sha256 must be the 64 hexadecimal digits of a SHA-256, or at least the first 8, but got {text!r}"
    )


def hash_in_name(name: str) -> str | None:
    """The first digits of the SHA-256 that a file name ends with, as those of torch's hub do.

    Digits that start with a date are no hash.

    >>> hash_in_name("resnet50-0676ba61.pth")
    '0676ba61'
    >>> hash_in_name("resnet50-20240101.pth")
    """
    found = _IN_NAME.search(name)
    return None if found is None or _is_date(found[1]) else found[1]


def _is_date(digits: str) -> bool:
    try:
        year = datetime.strptime(digits[:8], "%Y%m%d").year
    except ValueError:
        return False
    return digits.isdecimal() and 1970 <= year < 2100


def check_sha256(actual: str, sha256: str | None, what: str) -> None:
    """Compare a hash with the one that was asked for.

    Raises:
        InitError: they differ; it names both.
    """
    if sha256 is not None and not actual.startswith(valid_sha256(sha256)):
        raise InitError(
            f"{what} has the SHA-256 {actual}, but sha256={sha256!r} was asked for; "
            "it is another file, or it was damaged or changed"
        )


def check_name(actual: str, name: str, what: str) -> None:
    """Compare a hash with the one in a file name, where there is one.

    Raises:
        InitError: they differ; it names both.
    """
    expected = hash_in_name(name)
    if expected is not None and not actual.startswith(expected):
        raise InitError(
            f"{what} has the SHA-256 {actual}, but its name says {expected}: it was damaged or "
            f"changed. If this is no hash in the name, pass sha256={actual[:16]!r}"
        )


def read_note(path: Path) -> dict[str, Any]:
    """What a small JSON file says; nothing where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_note(path: Path, content: Mapping[str, Any]) -> None:
    """Put a small JSON file in its place, at once: nobody sees half of it."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
    fresh.replace(path)


def note_of(path: Path) -> Path:
    """Where the note on a file lies."""
    return path.with_name(f"{path.name}.json")


def write_record(path: Path, url: str, sha256: str, of: Path) -> None:
    """Note beside the place `path` what the finished file `of` is, which will be moved there."""
    stat = of.stat()
    about = {"size": stat.st_size, "sha256": sha256, "mtime_ns": stat.st_mtime_ns}
    write_note(note_of(path), {"url": url, **about})


def recorded_sha256(path: Path) -> str | None:
    """The SHA-256 of a file by the note beside it; None: there is no such file, or it is another.

    It is hashed again only where its size or time differ from the note's.
    """
    note = read_note(note_of(path))
    try:
        stat = path.stat()
        if (note.get("size"), note.get("mtime_ns")) == (stat.st_size, stat.st_mtime_ns):
            return str(note.get("sha256"))
        if note.get("size") != stat.st_size or sha256_of(path) != note.get("sha256"):
            return None
    except OSError:
        return None
    with suppress(OSError):  # the cache may be there to be read only
        write_record(path, str(note.get("url")), str(note["sha256"]), of=path)
    return str(note["sha256"])
