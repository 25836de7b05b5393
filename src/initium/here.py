"""What goes on in this thread: the recorder that is on, and the plan that user code runs for.

It stands below both, for those who must not write while a recorder is on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor

from initium.initializers import Initializer


class Noting(Protocol):
    """What the writer needs to know of a recorder (see `initium.record`)."""

    parent: Any
    paused: bool

    def write(self, tensor: Tensor, initializer: Initializer, stream: int | None = None) -> None:
        """Note a fill, or carry it out where it cannot be noted."""


class _Here(threading.local):
    # a thread's own: dispatch modes are, too
    recorder: Noting | None = None
    planner: Any = None  # whose plan user code is running for


HERE = _Here()


def recorder_here() -> Any:
    """The recorder that is on in this thread, or None."""
    here = HERE.recorder
    return None if here is None or here.paused else here


@contextmanager
def unseen() -> Iterator[None]:
    """What this package does with tensors within is not the user's doing: it is not recorded."""
    recorder = HERE.recorder
    if recorder is None or recorder.paused:
        yield
        return
    recorder.paused = True
    try:
        yield
    finally:
        recorder.paused = False
