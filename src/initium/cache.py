"""The folder for what can be made or fetched again: compiled kernels, downloads."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`INITIUM_CACHE` where it is set, else the folder that the system has for such things."""
    import platformdirs

    return Path(os.environ.get("INITIUM_CACHE") or platformdirs.user_cache_dir("initium"))
