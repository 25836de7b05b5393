"""Programs that tests start: none of their processes outlives a test, whatever hangs."""

import contextlib
import os
import signal
import subprocess
import sys

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


# gloo's thread drops a tensor after the interpreter has ended: plain torch does it, too, and rarely
TORCHS_OWN = "terminate called without an active exception"


def output(command, limit=150, **options):
    """What a program prints; it must succeed within some seconds."""
    for _ in range(3):
        code, said = _run(command, limit, options)
        if code == 0 or TORCHS_OWN not in said:
            break
    assert code == 0, said
    return said


def _run(command, limit, options):
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **{**options, "env": {**os.environ, "OMP_NUM_THREADS": "1", **options.get("env", {})}},
    )
    try:
        said, _ = process.communicate(timeout=limit)
    finally:
        with contextlib.suppress(ProcessLookupError):  # its children, too
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said
