"""The other side: a URL, opened at any byte by fsspec."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from initium.checkpoint.sources.failures import RemoteError, as_remote_errors

PIECE = 4 << 20  # bytes that are asked for at a time
AHEAD = 1 << 19  # bytes that are read ahead; a connection that breaks takes them along
PATIENCE = 60.0  # seconds without a byte until a connection counts as broken
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True)
class Answer:
    """Bytes of a remote file from `start` on.

    Attributes:
        file: they are read from it.
        start: the offset of the first one; 0 where the server cannot start elsewhere.
        size: of the whole file; None: unknown.
        mark: of this version of the file (ETag, …); None: unknown.
        mimetype: as the server says, or an empty string.
    """

    file: Any
    start: int
    size: int | None
    mark: str | None
    mimetype: str

    def read(self) -> bytes:
        """Some bytes, none at the end.

        Raises:
            RemoteError: the connection broke.
        """
        with as_remote_errors():
            return bytes(self.file.read(PIECE))

    def close(self) -> None:
        """Hang up."""
        self.file.close()


Opener: TypeAlias = Callable[[int], Answer]


@contextmanager
def connected(url: str) -> Iterator[Opener]:
    """Give a function that opens the URL at an offset; what it needs is closed at the end.

    Raises:
        RemoteError: (it and the function) whatever goes wrong; a package that is missing, too.
    """
    if re.match(r"https?://", url, re.IGNORECASE):
        with _http(url) as opener:
            yield opener
        return
    with as_remote_errors():
        from fsspec.core import url_to_fs

        fs, path = url_to_fs(url, skip_instance_cache=True)
    yield lambda offset: _open(fs, path, offset)


def _open(fs: Any, path: str, offset: int) -> Answer:
    from fsspec.utils import tokenize

    with as_remote_errors():
        about = fs.info(path)
        if about.get("type") == "directory":
            raise RemoteError("it is a folder, not a file", passes=False)
        file = fs.open(path, "rb", block_size=PIECE)
        start = _seek(file, offset)
    mark = str(about.get("ETag") or tokenize(about))
    return Answer(file, start, about.get("size"), mark, "")


def _seek(file: Any, offset: int) -> int:
    try:
        file.seek(offset)
    except (OSError, ValueError, NotImplementedError):  # a stream: it is at its beginning
        return 0
    return offset


@contextmanager
def _http(url: str) -> Iterator[Opener]:
    """One session, which does not give up after five minutes, as aiohttp's own would."""
    with as_remote_errors():
        import aiohttp
        from fsspec.asyn import sync
        from fsspec.implementations.http import HTTPFileSystem
    sessions: list[aiohttp.ClientSession] = []

    async def session(**options: Any) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE, sock_read=PATIENCE)
        sessions.append(aiohttp.ClientSession(timeout=timeout, trust_env=True, **options))
        return sessions[-1]

    # a URL that is quoted already is left alone: a signature holds for these very letters
    quoted = url.isascii() and " " not in url
    fs = HTTPFileSystem(get_client=session, encoded=quoted, skip_instance_cache=True)
    try:
        yield lambda offset: _open_http(fs, url, offset)
    finally:
        for one in sessions:
            sync(fs.loop, one.close)


def _open_http(fs: Any, url: str, offset: int) -> Answer:
    """One request. Size and version are those of the very answer that is read."""
    seen: list[Any] = []

    async def look(response: Any) -> None:
        response.raise_for_status()
        seen.append(response)

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with as_remote_errors():
        # a stream takes its size from the answer; size= keeps fsspec from asking before that
        stream = {"block_size": 0, "size": 1, "read_bufsize": AHEAD}
        file = fs.open(url, headers=headers, raise_for_status=look, **stream)
    return _answer(file, seen[-1].headers)


def _answer(file: Any, headers: Any) -> Answer:
    part = _RANGE.match(headers.get("Content-Range", ""))
    length = headers.get("Content-Length", "")
    plain = headers.get("Content-Encoding", "identity") == "identity"
    size = int(length) if length.isdecimal() and plain else None
    etag = headers.get("ETag", "")
    # a weak ETag (W/"...") may stay the same where bytes do not
    mark = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
    mark = mark if plain else None  # bytes are unpacked on the way: there are no offsets in them
    mimetype = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    start, size = (int(part[1]), int(part[2])) if part else (0, size)
    return Answer(file, start, size, mark, mimetype)
