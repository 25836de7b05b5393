"""Whole models: Initium against the loop that people write with torch.nn.init, in one run.

Ratios only: these machines are shared. Written to out/bench.json, too.
"""

import json
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import initium


def seconds(function, repeat=5):
    """The best of several runs: what the machine can do when nobody disturbs it."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def by_hand(model, fill):
    for module in model.modules():
        if isinstance(module, nn.Linear):
            fill(module.weight)
            nn.init.zeros_(module.bias)


CASES = {
    "normal": (dict(type="Normal", std=0.02), lambda w: nn.init.normal_(w, std=0.02)),
    "uniform": (dict(type="Uniform", a=-1), lambda w: nn.init.uniform_(w, -1, 1)),
    "kaiming": (dict(type="Kaiming"), lambda w: nn.init.kaiming_normal_(w, mode="fan_out")),
    "truncated": (
        dict(type="TruncNormal", std=0.02, units="sigma"),
        lambda w: nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04),
    ),
}


def fills():
    model = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(16)))
    for name, (cfg, fill) in CASES.items():
        rule = dict(cfg, layer="Linear")
        ours = seconds(lambda rule=rule: initium.initialize(model, rule, seed=0))
        theirs = seconds(lambda fill=fill: by_hand(model, fill))
        yield f"16 M weights, {name}: torch.nn.init / ours", theirs / ours


def plans():
    base = None
    for n in (1_000, 10_000, 100_000):
        model = nn.ModuleList(nn.Linear(2, 2, device="meta") for _ in range(n // 2))
        spent = seconds(lambda m=model: initium.plan(m, dict(type="Normal", layer="Linear")), 1)
        base = base or spent / n
        yield f"plan of {n} tensors: time per tensor / that of 1000", spent / n / base


def main():
    torch.manual_seed(0)
    rows = dict([*fills(), *plans()])
    table = Table("case", "ratio")
    for case, ratio in rows.items():
        table.add_row(case, f"{ratio:.2f}")
    Console().print(table)
    out = Path("out/bench.json")
    out.parent.mkdir(exist_ok=True)
    known = json.loads(out.read_text()) if out.exists() else {}
    out.write_text(json.dumps({**known, "models": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
