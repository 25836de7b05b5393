"""Whole models: constructors of transformers against `initium.build`, MMEngine's `init_weights`
against ours, in turn in one process, on memory that is warm for both.

    python benchmarks/building.py [--rounds N] [CASE ...]

Ratios only, best and median: these machines are shared.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

# memory that was used once goes on being mapped: else each round would measure the kernel's pages
WARM = {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 30),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
if __name__ == "__main__" and not WARM.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **WARM})

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import initium

Case = tuple[Callable[[], object], Callable[[], object]]


# ---- constructors of transformers


def constructor(cls: str, config: str, **arguments: object) -> Callable[[], Case]:
    def case() -> Case:
        import transformers

        settings = getattr(transformers, config)(**arguments)
        make = lambda: getattr(transformers, cls)(settings)  # noqa: E731
        return make, lambda: initium.build(make, seed=0)

    return case


CONSTRUCTORS = {
    "BERT-large": constructor(
        "BertModel", "BertConfig", hidden_size=1024, num_hidden_layers=24,
        num_attention_heads=16, intermediate_size=4096,
    ),
    "ViT-L": constructor(
        "ViTModel", "ViTConfig", hidden_size=1024, num_hidden_layers=24,
        num_attention_heads=16, intermediate_size=4096,
    ),
    "GPT-2-medium": constructor("GPT2Model", "GPT2Config", n_embd=1024, n_layer=24, n_head=16),
    "Llama, 300 M": constructor(
        "LlamaModel", "LlamaConfig", hidden_size=1024, intermediate_size=2816,
        num_hidden_layers=20, num_attention_heads=16,
    ),
}  # fmt: skip


# ---- init_weights of MMEngine


def part(base: type, *layers: nn.Module) -> nn.Module:
    """A module of a block: attention, feed-forward, residual branch."""

    class Part(base):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*layers)

    return Part()


def parts(base: type, kind: str) -> list[nn.Module]:
    if kind == "ResNet-50":
        narrow = part(base, nn.Conv2d(1024, 256, 1), nn.BatchNorm2d(256))
        middle = part(base, nn.Conv2d(256, 256, 3), nn.BatchNorm2d(256))
        return [narrow, middle, part(base, nn.Conv2d(256, 1024, 1), nn.BatchNorm2d(1024))]
    if kind == "ViT-L":
        attention = part(base, nn.LayerNorm(1024), nn.Linear(1024, 3072), nn.Linear(1024, 1024))
        ffn = part(base, nn.LayerNorm(1024), nn.Linear(1024, 4096), nn.Linear(4096, 1024))
        return [attention, ffn]
    attention = part(base, *(nn.Linear(1024, 1024, bias=False) for _ in range(4)))
    ffn = part(
        base,
        *(nn.Linear(1024, 2816, bias=False) for _ in range(2)),
        nn.Linear(2816, 1024, bias=False),
    )
    return [attention, ffn]


def block(library: Any, kind: str, init_cfg: object) -> nn.Module:
    """One block of a network, with the classes of either library."""

    class Block(library.BaseModule):
        def __init__(self) -> None:
            super().__init__(init_cfg)
            self.parts = library.ModuleList(parts(library.BaseModule, kind))

    return Block()


RULES = {
    "ResNet-50": [
        dict(type="Kaiming", layer="Conv2d"), dict(type="Constant", val=1, layer="BatchNorm2d"),
    ],
    "ViT-L": [
        dict(type="TruncNormal", std=0.02, layer="Linear"),
        dict(type="Constant", val=1, layer="LayerNorm"),
    ],
    "Llama": [dict(type="Normal", std=0.02, layer="Linear")],
}  # fmt: skip
BLOCKS = {"ResNet-50": 20, "ViT-L": 24, "Llama": 20}


def network(library: Any, kind: str, each: bool) -> nn.Module:
    class Net(library.BaseModule):
        def __init__(self) -> None:
            super().__init__(None if each else RULES[kind])
            rules = RULES[kind] if each else None
            blocks = (block(library, kind, rules) for _ in range(BLOCKS[kind]))
            self.blocks = library.ModuleList(blocks)

    return Net()


def init_weights(kind: str, each: bool) -> Callable[[], Case]:
    def again(model: nn.Module, **more: object) -> None:
        for module in model.modules():
            if hasattr(module, "_is_init"):
                module._is_init = False
            if hasattr(module, "_params_init_info"):
                del module._params_init_info
        model.init_weights(**more)

    def case() -> Case:
        import mmengine.model

        theirs, ours = network(mmengine.model, kind, each), network(initium, kind, each)
        return lambda: again(theirs), lambda: again(ours, seed=0)

    return case


INIT_WEIGHTS = {
    f"{kind}, {'every block its own' if each else 'one at the root'}": init_weights(kind, each)
    for each in (False, True)
    for kind in RULES
}


# ---- the race


def race(case: Case, rounds: int) -> tuple[float, float, float]:
    """(ratio of the best times, ratio of the medians, our best time)."""
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds + 1):
        for run, spent in zip(case, times, strict=True):
            gc.collect()
            start = time.perf_counter()
            made = run()
            end = time.perf_counter()
            del made
            if i:  # the first round warms up
                spent.append(end - start)
    theirs, ours = times
    medians = statistics.median(theirs) / statistics.median(ours)
    return min(theirs) / min(ours), medians, min(ours)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    table = Table("case", "theirs / ours, best", "median", "ours, s")
    for title, cases in {"transformers": CONSTRUCTORS, "MMEngine": INIT_WEIGHTS}.items():
        for name, make in cases.items():
            if options.cases and not any(text in f"{title} {name}" for text in options.cases):
                continue
            best, median, ours = race(make(), options.rounds)
            table.add_row(f"{title}: {name}", f"{best:.2f}", f"{median:.2f}", f"{ours:.3f}")
            print(f"{title}: {name}: {best:.2f} ({median:.2f}), {ours:.3f} s", flush=True)
    Console().print(table)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
