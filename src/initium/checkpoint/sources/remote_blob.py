"""The bytes of a remote file, fetched where they are asked for: enough to read a header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from initium.checkpoint.blob import Blob
from initium.checkpoint.sources.failures import RemoteError, shown
from initium.checkpoint.sources.remote import Opener, connected
from initium.errors import InitError, InitFileNotFoundError

_BLOCK = 1 << 18


class RemoteFile(Blob):
    """A remote file, in blocks that are fetched once.

    Attributes:
        partial: whether the server can send parts of the file; else it must be fetched whole.

    Args:
        url: of the file.
        opener: opens it at an offset.
    """

    def __init__(self, url: str, opener: Opener) -> None:
        self.name, self._opener = shown(url), opener
        self._blocks: dict[int, bytes] = {}
        with _as_init_error(self.name):
            first = self._opener(0)
            try:
                self.size = first.size or 0
                self._blocks[0] = _read(first, min(_BLOCK, self.size))
            finally:
                first.close()
            self.partial = first.size is not None and self._starts_elsewhere()

    def _starts_elsewhere(self) -> bool:
        if self.size <= _BLOCK:
            return True
        answer = self._opener(_BLOCK)
        answer.close()
        return answer.start == _BLOCK and answer.size == self.size

    def read_into(self, offset: int, buffer: Any) -> None:
        """Fill the buffer, block by block."""
        view = memoryview(buffer).cast("B")
        while view:
            number, start = divmod(offset, _BLOCK)
            piece = self._block(number)[start : start + len(view)]
            if not piece:
                raise InitError(f"{self.name} ends at byte {offset}")
            view[: len(piece)] = piece
            view, offset = view[len(piece) :], offset + len(piece)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            with _as_init_error(self.name):
                answer = self._opener(number * _BLOCK)
                try:
                    length = min(_BLOCK, self.size - number * _BLOCK)
                    self._blocks[number] = _read(answer, length)
                finally:
                    answer.close()
        return self._blocks[number]


@contextmanager
def remote_file(url: str) -> Iterator[RemoteFile]:
    """A remote file, as long as the context lasts.

    Raises:
        InitError: it cannot be reached, or there is no such file.
    """
    with _as_init_error(shown(url)), connected(url) as opener:
        yield RemoteFile(url, opener)


def _read(answer: Any, length: int) -> bytes:
    found = b""
    while len(found) < length:
        piece = answer.read()
        if not piece:
            break
        found += piece
    return found[:length]


@contextmanager
def _as_init_error(name: str) -> Iterator[None]:
    try:
        yield
    except RemoteError as error:
        if error.status == 404:
            raise InitFileNotFoundError(f"there is no file {name}") from None
        raise InitError(f"cannot read {name}: {error.reason}") from None
