"""What recording and planning cost, by operation and by tensor; what a large model takes on meta."""

from __future__ import annotations

import contextlib
import gc
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import initium


class Nothing(TorchDispatchMode):
    """What torch itself takes to call Python for every operation: nobody can be faster."""

    @classmethod
    def _should_skip_dynamo(cls):
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class NoFunction(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def nothing():
    with Nothing(), NoFunction():
        yield


@contextlib.contextmanager
def recording():
    with initium.recording(seed=0):
        yield
        # the end of the recording is not what is measured
        initium.here.HERE.recorder.records.clear()


OPERATIONS = (
    "torch.empty(8, 8)",
    "x.uniform_(-1, 1)",
    "x.zero_()",
    "x.mul_(0.5)",
    "x[0]",
    "x.shape",
)


def operations() -> None:
    table = Table("operation", "eager, us", "an empty mode, us", "recorded, us")
    x = torch.empty(8, 8)
    for text in OPERATIONS:
        row = []
        for mode in (contextlib.nullcontext, nothing, recording):
            with mode():
                runs = timeit.repeat(text, globals={"torch": torch, "x": x}, number=500, repeat=9)
            row.append(f"{min(runs) / 500 * 1e6:.1f}")
        table.add_row(text, *row)
    Console().print(table)


def net(n: int) -> nn.Module:
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(n // 2)))


def seconds(run: Callable[[], object], repeat: int) -> float:
    best = float("inf")
    for _ in range(repeat):
        gc.collect()
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def tensors() -> None:
    table = Table("tensors", "eager, s", "rules planned, s", "built on meta, s", "built, s")
    rules = [dict(type="Normal", layer="Linear"), dict(type="Constant", val=0, name="**.bias")]
    for n, repeat in ((1_000, 5), (10_000, 3), (100_000, 1)):
        with torch.device("meta"):
            model = net(n)
        cells = [
            seconds(lambda n=n: net(n), repeat),
            seconds(lambda m=model: initium.plan(m, rules, seed=0), repeat),
            seconds(lambda n=n: initium.build(lambda: net(n), seed=0, device="meta"), repeat),
            seconds(lambda n=n: initium.build(lambda: net(n), seed=0), repeat),
        ]
        table.add_row(str(n), *(f"{cell:.2f}" for cell in cells))
    Console().print(table)


def llamas() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    table = Table("Llama", "parameters", "seconds", "MiB before", "MiB at most", "tensors")
    sizes = {
        "7 B": {},
        "70 B": dict(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80,
                     num_attention_heads=64, num_key_value_heads=8),
        "405 B": dict(hidden_size=16384, intermediate_size=53248, num_hidden_layers=126,
                      num_attention_heads=128, num_key_value_heads=8, vocab_size=128256),
    }  # fmt: skip
    for name, size in sizes.items():
        config = LlamaConfig(**size)
        before, start = status("VmRSS"), time.perf_counter()
        model = initium.build(lambda c=config: LlamaForCausalLM(c), seed=0, device="meta")
        spent = time.perf_counter() - start
        count = sum(p.numel() for p in model.parameters())
        lines = len(initium.plan_of(model))
        most = status("VmHWM")
        table.add_row(name, f"{count:.3g}", f"{spent:.2f}", f"{before}", f"{most}", f"{lines}")
    Console().print(table)


def status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    operations()
    tensors()
    llamas()
