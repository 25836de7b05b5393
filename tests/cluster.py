"""A cluster on one machine: every rank is a process of its own, in a gloo group on the CPU.

The processes are forked off a server, this file run as a program, which has imported everything
already. Nothing waits for ever: a group gives up after a while, and who is left then is killed.
"""

import atexit
import faulthandler
import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

LIMIT = 200.0  # seconds for all that a cluster does
PATIENCE = 60.0  # seconds that a rank waits for others


class Outcome(NamedTuple):
    """What became of a rank.

    Attributes:
        value: what its task returned.
        error: or the traceback of what it raised; or where it stood when it was killed.
        code: with which its process ended; below 0: the signal that killed it.
        seconds: from the start of its task to the end.
    """

    value: Any
    error: str | None
    code: int
    seconds: float


class Job(NamedTuple):
    """What the ranks of a cluster are to do; see `run`."""

    world: int
    task: tuple[str, str]
    args: tuple[Any, ...]
    folder: Path
    limit: float


def run(world: int, task: Callable, *args: Any, folder: Path, limit: float = LIMIT):
    """Run `task(*args)` on every rank of a cluster; a list of outcomes.

    Args:
        world: the number of ranks.
        task: a function of an importable module.
        folder: for the store and the results; it is made.
        limit: in seconds; processes that run longer are killed.
    """
    folder.mkdir(parents=True)
    job = Job(world, (task.__module__, task.__qualname__), args, folder, limit)
    server = _server()
    pickle.dump(job, server.stdin)
    server.stdin.flush()
    codes = pickle.load(server.stdout)
    return [_outcome(folder, rank, code) for rank, code in enumerate(codes)]


def values(outcomes: list[Outcome]) -> list[Any]:
    """What the ranks have returned; none has failed."""
    bad = [rank for rank, o in enumerate(outcomes) if o.code != 0 or o.error is not None]
    for rank in bad:
        print(f"rank {rank}, code {outcomes[rank].code}:\n{outcomes[rank].error}", file=sys.stderr)
    assert not bad, f"ranks {bad} of {len(outcomes)} have failed, see above"
    return [outcome.value for outcome in outcomes]


@lru_cache(maxsize=1)
def _server() -> subprocess.Popen:
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    server = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **threads},
    )
    atexit.register(_stop, server)
    return server


def _stop(server: subprocess.Popen) -> None:
    server.stdin.close()
    server.wait(LIMIT)
    server.stdout.close()


def _outcome(folder: Path, rank: int, code: int) -> Outcome:
    left = folder / f"{rank}.pickle"
    if left.exists():
        return Outcome(**pickle.loads(left.read_bytes()), code=code)
    return Outcome(None, (folder / f"{rank}.log").read_text(), code, float("inf"))


def _serve() -> None:
    """The server: one job after the other, until nobody asks any more."""
    for module in ("ranks", "troubles"):  # which bring all else along
        importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what else is printed is no answer
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(_cluster(job), answers)
        answers.flush()


def _cluster(job: Job) -> list[int]:
    """Start the ranks, wait for them, and kill who has not ended in time: their exit codes."""
    pids = [os.fork() or _rank(rank, job) for rank in range(job.world)]
    until, codes = time.monotonic() + job.limit, dict[int, int]()
    while len(codes) < job.world:
        for pid in set(pids) - codes.keys():
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return [codes[pid] for pid in pids]


def _rank(rank: int, job: Job) -> int:
    """What a process does; it does not return."""
    started, value, error = time.monotonic(), None, None
    with (job.folder / f"{rank}.log").open("w") as log:
        faulthandler.dump_traceback_later(max(1.0, job.limit - 1), file=log)
        try:
            value = _in_group(rank, job)
        except BaseException:
            error = traceback.format_exc()
        left = dict(value=value, error=error, seconds=time.monotonic() - started)
        (job.folder / f"{rank}.pickle").write_bytes(pickle.dumps(left))
    os._exit(error is not None)  # without waiting for a group that may have lost a rank


def _in_group(rank: int, job: Job) -> Any:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    warnings.simplefilter("error")
    # of FSDP, where the logits of tensor parallelism are a model's output; torch's own
    warnings.filterwarnings("ignore", message=".*returned a view tensor")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
    store, patience = (
        dist.FileStore(str(job.folder / "store"), job.world),
        timedelta(seconds=PATIENCE),
    )
    dist.init_process_group("gloo", store=store, rank=rank, world_size=job.world, timeout=patience)
    module, name = job.task
    return getattr(importlib.import_module(module), name)(*job.args)


if __name__ == "__main__":
    _serve()
