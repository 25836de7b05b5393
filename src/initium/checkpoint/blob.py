"""Random access to the bytes of a file, wherever it lies."""

from __future__ import annotations

import io
import mmap
import os
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from initium.checkpoint.pages import private_pages
from initium.errors import InitError
from initium.streams import advise

_POPULATE_READ = 22  # MADV_POPULATE_READ, Linux 5.14: brings pages in, and fails with an error


class Blob(ABC):
    """Bytes that can be read at any place, by several threads at once.

    Attributes:
        name: for messages: the path or URL.
        size: in bytes.
    """

    name: str
    size: int

    @abstractmethod
    def read_into(self, offset: int, buffer: Any) -> None:
        """Fill `buffer` (writable, of bytes) with what lies at `offset`.

        Raises:
            InitError: the bytes end before the buffer is full, or cannot be read.
        """

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`.

        Raises:
            InitError: there are not as many, or they cannot be read.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise InitError(
                f"it ends after {self.size} bytes, but bytes {offset} to {offset + length} are "
                "asked for; the file is cut short or damaged"
            )
        buffer = bytearray(length)
        self.read_into(offset, buffer)
        return bytes(buffer)

    @contextmanager
    def mapped(self, offset: int, length: int) -> Iterator[int | None]:
        """The address of `length` bytes that are in memory for as long as this lasts.

        None: there is no such memory; `read_into` brings them, or says what is wrong.
        """
        yield None

    def private(self, offset: int, length: int) -> Any:
        """These bytes as memory of their own, which each call makes anew.

        None: there is no such memory.
        """
        return None


class LocalFile(Blob):
    """A file on this machine; it stays open, so that another one put in its place does no harm."""

    def __init__(self, path: Path) -> None:
        self.name, self.path = str(path), path
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._fd)
        self.size = os.fstat(self._fd).st_size

    def read_into(self, offset: int, buffer: Any) -> None:
        """Fill the buffer from the file, in as many system calls as it takes."""
        view = memoryview(buffer).cast("B")
        while view:
            # one call reads at most 2 GiB
            got = os.preadv(self._fd, [view[: 1 << 30]], offset)
            if not got:
                raise InitError(f"{self.name} ends at byte {offset}: it was cut short just now")
            view, offset = view[got:], offset + got

    @contextmanager
    def mapped(self, offset: int, length: int) -> Iterator[int | None]:
        """Pages of the file itself, brought in before and let go of after, so that few are held.

        To touch a page that a disk cannot give is a signal that kills; to ask for it before is an
        error, after which `read_into` will say what is wrong.
        """
        start = self._address
        if start is None:
            yield None
            return
        first = (start + offset) // mmap.PAGESIZE * mmap.PAGESIZE
        size = start + offset + length - first
        try:
            yield start + offset if advise(first, size, _POPULATE_READ) else None
        finally:
            advise(first, size, mmap.MADV_DONTNEED)

    def private(self, offset: int, length: int) -> Any:
        """Pages of the file, which the system reads when they are used, and copies for a write."""
        # beyond its end, a file that was cut short has no pages: to touch them would kill
        whole = os.fstat(self._fd).st_size >= offset + length
        return private_pages(self._fd, offset, length) if whole else None

    @cached_property
    def _address(self) -> int | None:
        """Where the file lies in the address space of this process."""
        if sys.platform != "linux" or not self.size:
            return None
        import numpy as np

        try:
            self._map = mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # a file system without maps; cut short meanwhile
            return None
        return int(np.frombuffer(self._map, np.uint8).ctypes.data)


class Part(Blob):
    """A stretch of another blob, such as one archive of several within a file."""

    def __init__(self, whole: Blob, start: int, size: int) -> None:
        if start < 0 or size < 0 or start + size > whole.size:
            raise InitError(
                f"{whole.name} has {whole.size} bytes, but bytes {start} to {start + size} are "
                "spoken of; the file is cut short or damaged"
            )
        self.name, self.size = whole.name, size
        self._whole, self._start = whole, start

    def read_into(self, offset: int, buffer: Any) -> None:
        """Fill the buffer from the whole."""
        self._whole.read_into(self._start + offset, buffer)

    def mapped(self, offset: int, length: int) -> Any:
        """The memory of the whole."""
        return self._whole.mapped(self._start + offset, length)

    def private(self, offset: int, length: int) -> Any:
        """A part of what the whole gives."""
        return self._whole.private(self._start + offset, length)


class Stream(io.RawIOBase):
    """A blob as a file object, for what reads from one: `zipfile`, `pickletools`."""

    def __init__(self, blob: Blob, position: int = 0) -> None:
        super().__init__()
        self._blob, self._position = blob, position

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; see `io.IOBase.seek`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._blob.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Where it stands."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read what is there, up to the size of the buffer."""
        length = min(len(buffer), max(0, self._blob.size - self._position))
        if length:
            self._blob.read_into(self._position, memoryview(buffer)[:length])
        self._position += length
        return length
