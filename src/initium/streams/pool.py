"""Work on all of torch's threads: a pool per process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock

import torch

Work = Callable[[], int]  # returns how much was done, for a progress bar
Advance = Callable[[int], None]
_lock = Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0


def carry_out(work: Iterator[Work], parallel: bool, advance: Advance | None = None) -> None:
    """Do all work, on `torch.get_num_threads()` threads where it is worth it.

    An exception, here or in a thread, stops the work; it is raised when no thread works any more,
    so that none writes into memory that is gone.
    """
    threads = torch.get_num_threads() if parallel else 1
    if threads == 1:
        for item in work:
            done = item()
            if advance is not None:
                advance(done)
        return
    queue = _Queue(work)
    futures = [_executor(threads).submit(queue.drain) for _ in range(threads)]
    try:
        while wait(futures, timeout=0.1).not_done:
            queue.report(advance)
    finally:
        queue.stopped = True
        wait(futures)
    queue.report(advance)
    _raise_first(futures)


class _Queue:
    def __init__(self, work: Iterator[Work]) -> None:
        self.work = work
        self.stopped = False
        self.done = self.reported = 0
        self.lock = Lock()

    def drain(self) -> None:
        try:
            while (item := self._next()) is not None:
                done = item()
                with self.lock:
                    self.done += done
        except BaseException:
            self.stopped = True
            raise

    def _next(self) -> Work | None:
        with self.lock:
            return None if self.stopped else next(self.work, None)

    def report(self, advance: Advance | None) -> None:
        done, self.reported = self.done - self.reported, self.done
        if advance is not None and done:
            advance(done)


def _raise_first(futures: list[Future[None]]) -> None:
    for future in futures:
        future.result()


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool, _size
    with _lock:
        if _pool is None or _size < threads:
            # a smaller one is let go: its threads end when nobody holds it any more
            _pool, _size = ThreadPoolExecutor(threads, "initium"), threads
        return _pool


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _pool, _size, _lock
    _pool, _size, _lock = None, 0, Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
