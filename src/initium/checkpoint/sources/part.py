"""The beginning of a file that is being fetched. It outlives its process, and is gone on with."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from initium.checkpoint.sources.hashes import feed, note_of, read_note, write_note
from initium.errors import InitError


class Part:
    """Bytes of a remote file on disk, and their hash so far; to be used in a `with` block.

    Args:
        path: where they lie; what an earlier process left there is taken up.
        url: where they come from, for the note beside it.

    Attributes:
        path: as given.
        done: how many bytes are there.
        size: how many there will be; None: the other side did not say.
        mark: the version of the remote file (its ETag, …); None: it has none, so that nobody can
            tell whether it is still the same file later.
    """

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        self.done = 0
        self.size: int | None = None
        self.mark: str | None = None
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Part:
        note = read_note(note_of(self.path))
        size, mark = note.get("size"), note.get("mark")
        if isinstance(size, int) and isinstance(mark, str) and self.path.is_file():
            self._take_up(size, mark)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _take_up(self, size: int, mark: str) -> None:
        """Go on; a byte is always left to ask for, which tells whether the file is still the same."""
        self._file = self.path.open("r+b")
        there = os.fstat(self._file.fileno()).st_size
        self.done = feed(self._digest, self._file, max(0, min(there, size - 1)))
        self._file.truncate(self.done)
        self.size, self.mark = size, mark

    @property
    def sha256(self) -> str:
        """The hash of what is there."""
        return self._digest.hexdigest()

    def restart(self, size: int | None, mark: str | None) -> None:
        """Begin anew, with a file of this size and version."""
        self._close()
        self._file = self.path.open("wb")  # emptied before the note says otherwise
        self._digest, self.done = hashlib.sha256(), 0
        self.size, self.mark = size, mark
        write_note(note_of(self.path), {"url": self.url, "size": size, "mark": mark})

    def append(self, block: bytes) -> None:
        """Add bytes; they are in the system's hands when this returns."""
        if self._file is None:
            raise InitError(f"{self.path} was not begun")
        self._file.write(block)
        self._file.flush()
        self._digest.update(block)
        self.done += len(block)

    def finish(self) -> None:
        """Bring everything to the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())
        self._close()

    def discard(self) -> None:
        """Remove it."""
        self._close()
        self.done = 0
        self.path.unlink(missing_ok=True)
        note_of(self.path).unlink(missing_ok=True)

    def move(self, to: Path) -> None:
        """Give the finished file its place."""
        self._close()
        self.path.replace(to)
        note_of(self.path).unlink(missing_ok=True)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
