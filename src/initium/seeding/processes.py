"""The processes that write together, and how they are stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh


def world() -> int:
    """The number of ranks; where they are not yet connected, torchrun says it."""
    return dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def processes() -> Iterator[DeviceMesh]:
    """The ranks in a row: of the group that is there, those of torchrun, or this process alone."""
    own = not dist.is_initialized()
    if own and "RANK" in os.environ:
        dist.init_process_group("gloo")
    elif own:
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield init_device_mesh("cpu", (dist.get_world_size(),))
    finally:
        if own:
            dist.destroy_process_group()
            # gloo's threads let go of their last tensors, for which they need the interpreter: once
            # that has ended, they abort the process
            time.sleep(0.1 if world() > 1 else 0)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM, which torchrun sends to the others where one rank fails, undo what is half done."""

    def stop(*_: object) -> None:
        hear_no_sigterm()
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():  # where no signal is heard
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def hear_no_sigterm() -> None:
    """Have nothing disturb what comes now."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
