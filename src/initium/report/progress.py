"""A progress bar for what takes more than a second. Drawn by rich, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 1.0  # seconds before the bar appears


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that is told of finished elements, out of `total`."""
    start, done, bar = time.monotonic(), 0, None
    task: Any = None

    def advance(n: int) -> None:
        nonlocal done, bar, task
        done += n
        if bar is None and time.monotonic() - start > PATIENCE and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            bar = Progress(console=Console(stderr=True), transient=True)
            task = bar.add_task(label, total=total)
            bar.start()
        if bar is not None:
            bar.update(task, completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()
