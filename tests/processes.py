"""Programs that tests start: none of their processes outlives a test, whatever hangs."""

import contextlib
import os
import signal
import subprocess
import sys

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def output(command, limit=150, **options):
    """What a program prints; it must succeed within some seconds."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})},
        **options,
    )
    try:
        said, _ = process.communicate(timeout=limit)
    finally:
        with contextlib.suppress(ProcessLookupError):  # its children, too
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    return said
