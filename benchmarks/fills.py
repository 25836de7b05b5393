"""Single fills: Initium's streams against torch, NumPy, MKL and MMEngine's method, in one run.

Ratios only, taken in turns: of the best of several rounds, and of the medians, which tell how a
shared machine usually does. Six rounds were too few: the same code gave 4.2 to 6.3.
Written to out/bench.json, too, as the section "fills". `--quick` is a smoke test.
"""

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import init as torch_init

from initium import init
from initium.streams import Job, Normal, TruncNormal, Uniform, fill
from initium.streams.keys import keys_of

NORMAL, UNIFORM = Normal(0, 1), Uniform(-1, 1)


class Peer(NamedTuple):
    """Whom we are compared with: peer / ours; for a limit it is turned round: ours / limit."""

    name: str
    run: Any
    reach: str = ""
    limit: bool = False


class Row(NamedTuple):
    """One line of the table."""

    case: str
    of: str
    value: float | str
    reach: str = ""
    ours: str = ""
    median: float | None = None


def timed(functions, rounds):
    """(least, median) seconds of each; in turns, so that a noisy neighbour hits all of them."""
    spent = [[] for _ in functions]
    for _ in range(rounds):
        for function, seconds in zip(functions, spent, strict=True):
            start = time.perf_counter()
            result = function()
            seconds.append(time.perf_counter() - start)
            del result  # its memory is given back while no clock runs
    return [(min(seconds), statistics.median(seconds)) for seconds in spent]


def compare(case, ours, *peers, rounds, count=1):
    """A row a peer; `count` is how many tensors a call fills."""
    spent, *theirs = timed([ours, *(peer.run for peer in peers)], rounds)
    each = f"{1e3 * spent[0]:.2f} ms" if count == 1 else f"{1e6 * spent[0] / count:.2f} µs each"
    for peer, seconds in zip(peers, theirs, strict=True):
        of = f"ours / {peer.name}" if peer.limit else f"{peer.name} / ours"
        above, below = (spent, seconds) if peer.limit else (seconds, spent)
        value, median = (x / y for x, y in zip(above, below, strict=True))
        yield Row(case, of, value, peer.reach, each, median)


def filled(tensor, distribution):
    fill([Job(tensor, 1, distribution)])
    return tensor


def erfinv_(tensor, mean, std, a, b):
    """MMEngine's and timm's truncated normal, the inverse CDF in five passes (our own lines)."""
    low, high = (math.erf((edge - mean) / std / math.sqrt(2)) for edge in (a, b))  # 2·Phi - 1
    return tensor.uniform_(low, high).erfinv_().mul_(std * math.sqrt(2)).add_(mean).clamp_(a, b)


def warm(n, rounds):
    """Memory that was written before; the limit is one constant, written by torch."""
    for name, uniform, normal in ("float32", "≥ 5", "≥ 4.5"), ("bfloat16", "≥ 4", "≥ 4"):
        w = torch.ones(n, dtype=getattr(torch, name))
        limit = Peer("fill_", partial(w.fill_, 1.0), limit=True)
        peer = Peer("torch", partial(torch_init.uniform_, w, -1, 1), uniform)
        ours = partial(filled, w, UNIFORM)
        yield from compare(f"warm {name}, uniform", ours, peer, limit, rounds=rounds)
        peer = Peer("torch", partial(torch_init.normal_, w), normal)
        ours = partial(filled, w, NORMAL)
        yield from compare(f"warm {name}, normal", ours, peer, limit, rounds=rounds)
        yield from truncated(f"warm {name}, truncated", w, limit, rounds)


def truncated(case, w, limit, rounds):
    """Bounds at two and at three sigma, and bounds that cut nothing off."""
    for std, bound, reach in (1, 2, "≥ 40"), (1, 3, ""), (0.02, 2, ""):
        cut = (0, std, -bound, bound)
        ours, label = partial(filled, w, TruncNormal(*cut)), f"{case}, {std} in ±{bound}"
        mmengine = Peer("MMEngine", partial(erfinv_, w, *cut), "≥ 4")
        yield from compare(label, ours, mmengine, limit, rounds=rounds)
        theirs = partial(torch_init.trunc_normal_, w, *cut)  # seconds a round
        peer = Peer("torch", theirs, reach if w.dtype == torch.float32 else "")
        yield from compare(label, ours, peer, rounds=3)


def cold(n, rounds):
    """Memory fresh from the system, page faults included."""
    yield from compare(
        "cold float32, normal",
        lambda: filled(torch.empty(n), NORMAL),
        Peer("torch", lambda: torch.empty(n).normal_()),
        Peer("fill_", lambda: torch.empty(n).fill_(1.0), "≤ 1.4", limit=True),
        rounds=rounds,
    )


def smaller(rounds):
    """One weight of 4 Mi elements; 10,000 tensors of 64 elements, each with a key of its own."""
    w, tensors = torch.ones(1 << 22), {f"layers.{i}.weight": torch.ones(64) for i in range(10_000)}
    peer = Peer("torch", partial(torch_init.normal_, w))
    ours = partial(filled, w, NORMAL)
    yield from compare("4 Mi float32, normal", ours, peer, rounds=2 * rounds)

    def many():
        keys = keys_of(7)
        fill([Job(tensor, keys(name), NORMAL) for name, tensor in tensors.items()])

    peer = Peer("torch", lambda: [torch_init.normal_(tensor) for tensor in tensors.values()], "> 1")
    yield from compare("10,000 × 64, normal", many, peer, rounds=2 * rounds, count=10_000)


def in_place(rounds):
    """`initium.init`, whose functions bear torch's names."""
    for shape, more in ((64, 64), 10), ((512, 512), 2), ((2048, 1024), 1), ((4096, 4096), 0.2):
        w = torch.ones(shape)
        peer, ours = (
            Peer("torch", partial(torch_init.orthogonal_, w), "≥ 1"),
            partial(init.orthogonal_, w),
        )
        ours()  # its kernels are of its own
        yield from compare(f"orthogonal_, {shape}", ours, peer, rounds=math.ceil(more * rounds))
    w = torch.ones(64)
    ours, theirs = (
        partial(lambda normal_: [normal_(w) for _ in range(1000)], module.normal_)
        for module in (init, torch_init)
    )
    peer = Peer("torch", theirs)
    yield from compare("normal_, 64 elements", ours, peer, rounds=2 * rounds, count=1000)


def with_numpy(n, rounds):
    """NumPy's generators work on one thread."""
    w, out = torch.ones(n), np.ones(n, dtype=np.float32)
    for bits in (np.random.SFC64, np.random.Philox, np.random.PCG64):
        rng, name = np.random.Generator(bits(1)), f"NumPy {bits.__name__}"
        peer = Peer(name, partial(rng.standard_normal, dtype=np.float32, out=out))
        yield from compare("warm float32, normal", partial(filled, w, NORMAL), peer, rounds=rounds)
        peer, ours = Peer(name, partial(rng.random, dtype=np.float32, out=out)), Uniform(0, 1)
        yield from compare("warm float32, uniform", partial(filled, w, ours), peer, rounds=rounds)


def with_mkl(n, rounds):
    """mkl_random's fastest generator and method, on one thread; its arrays are new and float64."""
    try:
        from mkl_random import MKLRandomState
    except ImportError as error:
        print(f"no comparison with mkl_random: {error}")
        return
    rng = MKLRandomState(1, brng="ARS5")
    normal = Peer("MKL's float64", partial(rng.standard_normal, n, method="ICDF"))
    uniform = Peer("MKL's float64", partial(rng.uniform, -1.0, 1.0, n))
    for name in ("float64", "float32"):
        for peer, wanted, kind in (normal, NORMAL, "normal"), (uniform, UNIFORM, "uniform"):
            new = partial(torch.empty, n, dtype=getattr(torch, name))
            ours = lambda new=new, wanted=wanted: filled(new(), wanted)  # noqa: E731
            yield from compare(f"cold {name}, {kind}", ours, peer, rounds=rounds)


STEPS = (
    ("import torch", "import torch", ""),
    ("import initium, after it", "import initium", "< 0.3"),
    (
        "kernel from the disk",
        "from initium.streams.compiled import kernel; kernel('draw')",
        "< 0.3",
    ),
    ("first fill, after that", "from initium.streams import *; fill([job()])", ""),
)


def start_up(rounds):
    """In processes of their own, which time their steps and look for Numba after each."""
    code = "import sys, time; job = lambda: Job(torch.ones(64), 1, Normal(0, 1))\n"
    for _, step, _ in STEPS:
        code += f"start = time.perf_counter(); {step}\n"
        code += "print(time.perf_counter() - start, 'numba' in sys.modules)\n"
    runs = []
    for _ in range(rounds + 1):  # the first compiles kernels where none are on the disk
        printed = subprocess.check_output([sys.executable, "-c", code], text=True)
        runs.append([line.split() for line in printed.splitlines()])
    for (case, _, reach), *times in zip(STEPS, *runs[1:], strict=True):
        yield Row(case, "seconds", min(float(seconds) for seconds, _ in times), reach)
    imported = any(found == "True" for run in runs[1:] for _, found in run)
    yield Row("all of these", "whether Numba was imported", str(imported), "False")


def machine():
    cpus = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpus.read_text()) if cpus.exists() else None
    cpu, cores = model[1] if model else platform.machine(), os.cpu_count()
    threads = torch.get_num_threads()
    return {"cpu": cpu, "cores": cores, "torch": torch.__version__, "torch threads": threads}


def show(title, rows):
    table = Table("case", "ratio of", "best", "median", "to reach", "ours took", title=title)
    for row in rows:
        value = row.value if isinstance(row.value, str) else f"{row.value:.2f}"
        median = "" if row.median is None else f"{row.median:.2f}"
        table.add_row(row.case, row.of, value, median, row.reach, row.ours)
    Console(width=120).print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="4 Mi elements instead of 64 Mi")
    n, rounds, few = (1 << 22, 2, 1) if parser.parse_args().quick else (1 << 26, 20, 5)
    torch.manual_seed(0)
    rows = [*warm(n, rounds), *cold(n, rounds), *smaller(rounds), *in_place(rounds)]
    rows += [*with_numpy(n, few), *start_up(few), *with_mkl(n, few)]
    about = machine()
    facts = ", ".join(f"{name} {value}" for name, value in about.items())
    show(f"{n >> 20} Mi elements; {facts}", rows)
    out = Path("out/bench.json")
    out.parent.mkdir(exist_ok=True)
    sections = json.loads(out.read_text()) if out.exists() else {}
    sections["fills"] = {"elements": n, **about, "rows": [row._asdict() for row in rows]}
    out.write_text(json.dumps(sections, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
