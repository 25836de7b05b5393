"""Where the file of a URL lies in the cache."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from initium.cache import cache_dir
from initium.checkpoint.sources.failures import shown
from initium.checkpoint.sources.hashes import recorded_sha256, valid_sha256

_CHAINED = re.compile("::(?=[a-z0-9+.-]+://)")  # zip://x.pth::https://host/archive.zip


def downloads() -> Path:
    """The folder for downloads: `downloads` in `initium.cache.cache_dir()`."""
    return cache_dir().absolute() / "downloads"


def safe_name(url: str) -> str:
    """The last part of a URL's path, as a file name on any system; its end matters most.

    >>> safe_name("https://host/a/my%20net.pth?token=1")
    'my_net.pth'
    """
    first = _CHAINED.split(shown(url), maxsplit=1)[0]
    last = unquote(first.rstrip("/").rsplit("/", 1)[-1])
    return re.sub(r"[^\w.+=-]", "_", last, flags=re.ASCII)[-150:].strip(".") or "checkpoint"


@dataclass(frozen=True)
class Place:
    """Where the file of a URL lies: in a folder of its own, under its own name.

    Attributes:
        downloads: the folder of all downloads.
        key: the name of its own folder, from the whole URL.
        name: of the file.
    """

    downloads: Path
    key: str
    name: str

    @classmethod
    def of(cls, url: str) -> Place:
        """The place of a URL; nothing is created."""
        key = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return cls(downloads(), key, safe_name(url))

    @property
    def file(self) -> Path:
        """The path of the finished file."""
        return self.downloads / self.key / self.name

    def find(self, sha256: str | None) -> Path | None:
        """The finished file, if it is there, whole, and (where asked for) of this SHA-256."""
        actual = recorded_sha256(self.file)
        if actual is None or not actual.startswith(valid_sha256(sha256) if sha256 else ""):
            return None
        return self.file

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone on this machine with the place; its folder goes again if nothing is put there."""
        from filelock import FileLock

        locks = self.downloads / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        # not in the folder of the place, which could not be removed then
        with FileLock(locks / f"{self.key}.lock"):
            self.file.parent.mkdir(exist_ok=True)
            try:
                yield
            finally:
                with suppress(OSError):  # it is not empty
                    self.file.parent.rmdir()
