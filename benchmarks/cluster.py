"""A sharded model's start at several world sizes: seconds and peak memory of a rank, against other ways.

    python benchmarks/cluster.py [--layers N] [--rounds N] [WORLD ...]

A decoder of a billion parameters (16 layers), float32, sharded by FSDP2 on the CPU with gloo. Each
number is of the slowest, or largest, rank; imports and the process group are not counted. The ranks
share the cores of this machine, so that CPU seconds say more of what a rank has to do than seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

OUT = Path("out/cluster")
WORDS, WIDTH, HIDDEN = 32000, 2048, 5632


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in ("q", "k", "v", "o"):
            self.add_module(name, nn.Linear(WIDTH, WIDTH, bias=False))
        self.gate, self.up = (nn.Linear(WIDTH, HIDDEN, bias=False) for _ in range(2))
        self.down = nn.Linear(HIDDEN, WIDTH, bias=False)
        self.norm = nn.RMSNorm(WIDTH)


class Net(nn.Module):
    """Initialises itself as language models do: truncated normal weights."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.init_weights()

    def init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.trunc_normal_(module.weight, std=0.02)
            elif isinstance(module, nn.RMSNorm):
                nn.init.ones_(module.weight)


def sharded(model: Net) -> Net:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def on_meta(layers: int) -> Net:
    with torch.device("meta"):
        return Net(layers)


# ---- the ways


def by_initium(layers: int) -> Net:
    import initium

    model = initium.build(lambda: Net(layers), seed=0, device="meta")
    sharded(model)
    initium.materialize(model)
    return model


def by_rank_0(layers: int) -> Net:
    """Rank 0 has the whole model, and sends each rank its part."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    whole = Net(layers).state_dict() if dist.get_rank() == 0 else {}
    model = sharded(on_meta(layers)).to_empty(device="cpu")
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, whole, options=options)
    return model


def by_dtensor(layers: int) -> Net:
    """Memory first, then the model's own code on DTensors."""
    model = sharded(on_meta(layers)).to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        model.init_weights()
    return model


def by_checkpoint(layers: int) -> Net:
    """A checkpoint that was written before, which takes its own time and disk."""
    import torch.distributed.checkpoint as dcp

    model = sharded(on_meta(layers)).to_empty(device="cpu")
    dcp.load({"model": model.state_dict()}, checkpoint_id=OUT / f"{layers}")
    return model


WAYS: dict[str, Callable[[int], Net]] = {
    "initium": by_initium,
    "rank 0, then broadcast": by_rank_0,
    "to_empty, init_weights on DTensors": by_dtensor,
    "seed checkpoint": by_checkpoint,
}


def status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def one(way: str, layers: int, out: Path) -> None:
    """A rank: start the model once, and write what it took."""
    import initium

    dist.init_process_group("gloo")
    initium.build(lambda: nn.Linear(8, 8), seed=0)  # the kernels are loaded
    dist.barrier()
    before, cpu, start = status("VmRSS"), time.process_time(), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    model = WAYS[way](layers)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    held = sum(p.to_local().nbytes for p in model.parameters()) / 2**20  # type: ignore[attr-defined]
    found = {"seconds": seconds, "cpu": used, "held": held}
    found["mib"] = (status("VmHWM") - before) / 1024
    (out / f"{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def run(way: str, layers: int, world: int) -> dict[str, float]:
    """The largest number of any rank."""
    threads = str(max(1, (os.cpu_count() or 1) // world))
    with tempfile.TemporaryDirectory() as folder:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(world)]
        command = [*launcher, __file__, "--one", way, "--layers", str(layers), "--out", folder]
        env = {**os.environ, "OMP_NUM_THREADS": threads}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            raise SystemExit(f"{way}, world {world}: {done.stderr[-2000:]}")
        ranks = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    return {key: max(rank[key] for rank in ranks) for key in ranks[0]}


def prepare(layers: int) -> float:
    """Write the seed checkpoint; the seconds that takes."""
    import torch.distributed.checkpoint as dcp

    start = time.perf_counter()
    shutil.rmtree(OUT / f"{layers}", ignore_errors=True)
    dcp.save({"model": Net(layers).state_dict()}, checkpoint_id=OUT / f"{layers}", no_dist=True)
    return time.perf_counter() - start


def main() -> None:
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one")
    parser.add_argument("--out", type=Path)
    parser.add_argument("worlds", nargs="*", type=int, default=[1, 2, 4])
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one, arguments.layers, arguments.out)
        return
    n = sum(p.numel() for p in on_meta(arguments.layers).parameters())
    print(f"{n / 1e9:.2f} billion parameters; {prepare(arguments.layers):.1f} s for the checkpoint")
    for world in arguments.worlds:
        columns = ("", "seconds, best (median)", "CPU seconds", "peak MiB", "MiB held")
        table = Table(*columns, title=f"world {world}")
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way in WAYS:
                found[way].append(run(way, arguments.layers, world))
        for way, rounds in found.items():
            table.add_row(way, *_cells(rounds))
        Console(width=110).print(table)


def _cells(rounds: list[dict[str, float]]) -> list[str]:
    of: dict[str, Any] = {key: [r[key] for r in rounds] for key in rounds[0]}
    seconds = f"{min(of['seconds']):.2f} ({statistics.median(of['seconds']):.2f})"
    rest = (statistics.median(of[key]) for key in ("mib", "held"))
    return [seconds, f"{min(of['cpu']):.2f}", *(f"{value:.0f}" for value in rest)]


if __name__ == "__main__":
    main()
