"""Builds every architecture eagerly and through the recorder, and compares bits.

For each: (a) `build(exact=True)` is the eager model, bit for bit, and torch's generator ends where it
would; (b) `build(seed)` gives the same bits twice, and with one thread; (c) `build(device="meta")` and
`materialize` give those bits; (d) the peak of memory of a build on meta; (e) what was captured, and why;
(f) what the plan calls constant is what the eager model has, and what is drawn has its mean and spread.

    python benchmarks/sweep.py [NAME ...] [--every N] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from classics import classics
from torch import nn

import initium

SEED = 20261125
State = dict[str, torch.Tensor]


def state(model: nn.Module) -> State:
    """All tensors of a model, its non-persistent buffers too."""
    return {
        name: tensor.detach()
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if not torch.nn.parameter.is_lazy(tensor)
    }


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(SEED % 2**32)
    return make()


def differences(one: State, other: State, but: set[str]) -> list[str]:
    if one.keys() != other.keys():
        return [f"names: {sorted(one.keys() ^ other.keys())[:3]}"]
    return [n for n in one if n not in but and not _same_bits(one[n], other[n])]


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape or a.device != b.device:
        return False
    if a.is_meta or not a.numel():
        return True
    a, b = (t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(a, b)


def check(factory: Callable[[], nn.Module]) -> dict:
    """What comes out for one constructor."""
    eager = seeded(factory)
    after = torch.get_rng_state()
    exact = seeded(lambda: initium.build(factory, exact=True))
    found: dict = {}
    plan = initium.plan_of(exact)
    unwritten = _unwritten(plan)
    found["exact"] = differences(state(eager), state(exact), unwritten)
    if not torch.equal(after, torch.get_rng_state()):
        found["exact"].append("generator")
    build = lambda **more: seeded(lambda: initium.build(factory, seed=SEED, **more))  # noqa: E731
    start = time.perf_counter()
    built = build()
    found["seconds"] = time.perf_counter() - start
    before = torch.get_rng_state()
    found["again"] = differences(state(built), state(build()), unwritten)
    torch.manual_seed(SEED % 2**32)
    if not torch.equal(before, torch.get_rng_state()):
        found["again"].append("generator moved")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found["one thread"] = differences(state(built), state(build()), unwritten)
    torch.set_num_threads(threads)
    base = _reset_peak()
    on_meta = build(device="meta")
    found["meta MiB"] = (_peak() - base) / 2**20
    if any(not t.is_meta for t in state(on_meta).values()):
        found["again"].append("not on meta")
    initium.materialize(on_meta)
    found["meta"] = differences(state(built), state(on_meta), unwritten)
    found |= _of_plan(initium.plan_of(built), eager, built, unwritten)
    return found


def _unwritten(plan: initium.Plan) -> set[str]:
    texts = [f.message.split(": ", 1)[-1] for f in plan.findings if f.kind == "unwritten"]
    names = {n.split(" ")[0] for text in texts for n in text.split(": ")[-1].split(", ")}
    whole = {line.name for line in plan if line.write is None}
    return names | (whole if texts else set())


def _of_plan(plan: initium.Plan, eager: nn.Module, built: nn.Module, unwritten: set[str]) -> dict:
    found: dict = {"lines": len(plan), "values": [], "captured": {}, "drawn twice": 0}
    theirs, ours = state(eager), state(built)
    found["parameters"] = sum(
        p.numel() for p in built.parameters() if not torch.nn.parameter.is_lazy(p)
    )
    found["lost"] = sum(f.kind == "lost" for f in plan.findings)
    found["unwritten"] = sorted(unwritten & ours.keys())
    for line in plan:
        if line.name in unwritten or line.name not in ours:
            continue
        fills = [w for w in line.carried_out if hasattr(w, "initializer")]
        found["drawn twice"] += len([w for w in line.writes if w.where is None]) > 1
        if len(fills) < len(line.carried_out):
            found["captured"][line.name] = line.write.reason
        elif not any(w.initializer.random for w in fills):
            if not _same_bits(theirs[line.name], ours[line.name]):
                found["values"].append(line.name)
        elif not _alike(theirs[line.name].double(), ours[line.name].double()):
            found["values"].append(line.name)
    return found


def _alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two samples may come from one distribution: means and spreads, 7 sigma."""
    n = a.numel()
    if n < 30:
        return True
    spread = max(a.std().item(), b.std().item())
    close = abs(a.mean() - b.mean()) <= 7 * spread * (2 / n) ** 0.5 + 1e-12
    return bool(close and abs(a.std() - b.std()) <= 7 * spread * (3 / n) ** 0.5 + 1e-12)


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def targets() -> Iterator[tuple[str, str, Callable[[], nn.Module] | None, str]]:
    """(group, name, constructor or None, why it is skipped)."""
    for name, factory in classics():
        yield "torch.nn and classics", name, factory, ""
    from shrink import architectures

    for found in architectures():
        yield "transformers", found.name, found.factory, found.skipped


def sweep(names: list[str], every: int) -> list[dict]:
    rows = []
    for i, (group, name, factory, skipped) in enumerate(targets()):
        if (names and name not in names) or i % every:
            continue
        row = {"group": group, "name": name, "skipped": skipped}
        if factory is not None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    row |= check(factory)
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


CHECKS = ("exact", "again", "one thread", "meta", "values")


def totals(rows: list[dict]) -> str:
    """The table of docs/compatibility.md."""
    lines = ["| | " + " | ".join(dict.fromkeys(r["group"] for r in rows)) + " |"]
    groups = list(dict.fromkeys(r["group"] for r in rows))
    lines.append("|---|" + "---:|" * len(groups))

    def add(label: str, count: Callable[[list[dict]], object]) -> None:
        cells = [str(count([r for r in rows if r["group"] == g])) for g in groups]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")

    done = lambda rs: [r for r in rs if "lines" in r]  # noqa: E731
    add("constructors", len)
    add("skipped", lambda rs: sum(bool(r["skipped"]) for r in rs))
    add("failed to build", lambda rs: sum("error" in r for r in rs))
    for check_name in CHECKS:
        add(
            f"differences: {check_name}", lambda rs, c=check_name: sum(bool(r[c]) for r in done(rs))
        )
    add("tensors", lambda rs: sum(r["lines"] for r in done(rs)))
    add("tensors filled", lambda rs: sum(r["lines"] - len(r["captured"]) for r in done(rs)))
    add("tensors captured", lambda rs: sum(len(r["captured"]) for r in done(rs)))
    add(
        "tensors that the constructor writes more than once",
        lambda rs: sum(r["drawn twice"] for r in done(rs)),
    )
    add("writes that are lost (to computed weights)", lambda rs: sum(r["lost"] for r in done(rs)))
    add("tensors never written", lambda rs: sum(len(r["unwritten"]) for r in done(rs)))
    add(
        "largest peak of a build on meta, MiB",
        lambda rs: round(max((r["meta MiB"] for r in done(rs)), default=0)),
    )
    return "\n".join(lines)


def details(rows: list[dict]) -> str:
    """Why tensors were captured, what was never written, what was skipped."""
    why = Counter(reason for r in rows for reason in r.get("captured", {}).values())
    text = ["", "| captured because of | tensors |", "|---|---:|"]
    text += [f"| `{reason}` | {n} |" for reason, n in why.most_common()]
    text += ["", "| never written | tensors |", "|---|---|"]
    text += [
        f"| {r['name']} | {', '.join(r['unwritten'][:4])} |" for r in rows if r.get("unwritten")
    ]
    text += ["", "| writes to computed weights | how many |", "|---|---:|"]
    text += [f"| {r['name']} | {r['lost']} |" for r in rows if r.get("lost")]
    text += ["", "| skipped or failed | reason |", "|---|---|"]
    text += [
        f"| {r['name']} | {r.get('error') or r['skipped']} |"
        for r in rows
        if r["skipped"] or "error" in r
    ]
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--every", type=int, default=1, help="only every Nth architecture")
    parser.add_argument("--markdown", type=Path, help="write the tables there")
    options = parser.parse_args()
    rows = sweep(options.names, options.every)
    text = totals(rows) + "\n" + details(rows)
    print(text)
    if options.markdown:
        options.markdown.write_text(text + "\n")
    bad = [r["name"] for r in rows if "error" in r or any(r.get(c) for c in CHECKS)]
    print("differences or errors in:", bad)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
