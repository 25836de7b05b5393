"""A line of a plan in words."""

from __future__ import annotations

from collections.abc import Mapping

from initium.lines import Line
from initium.writes import Capture, Fill, Write, is_keep

COLUMNS = ["tensor", "shape", "initializer", "std", "source"]


def row(line: Line) -> list[str]:
    """The cells of a line in the table of a plan."""
    last = line.last
    std = "" if line.std is None else f"{line.std:.4g}"
    source = "set by nothing: stays as it is" if last is None else last.source
    name = " = ".join([line.name, *line.aliases])
    shape = "×".join(map(str, line.shape)) or "scalar"
    return [name, shape, line.what or "–", std, source]


def explain(line: Line) -> str:
    """Every write that mentions a tensor, in the order of precedence, and what becomes of it."""
    head = f"{line.name} - {list(line.shape)} {line.dtype}"
    if not line.writes:
        return f"{head}\n  nothing mentions it: it stays as the constructor made it"
    rows = [
        f"  {i}. {f'{w.where} ' if w.where else ''}{w} — {w.source}: {_fate(line, w)}"
        for i, w in enumerate(line.writes, 1)
    ]
    if line.as_one:
        rows.append(
            "  a rank that holds a shard computes all of the matrix, and takes its part"
            f" ({line.elements():,} elements for a moment)"
        )
    return "\n".join([head, *rows])


def _fate(line: Line, write: Write) -> str:
    left = line.carried_out
    if any(write is kept for kept in left):
        if write.where is not None:
            return f"is written on top{_formula(write)}"
        return f"wins: the last declared write, later beats earlier{_formula(write)}"
    if is_keep(write):
        return "keeps what was there before the rules"
    winner = left[0]
    if write.where is None and write.order > winner.order and not is_keep(line.last):
        return "the same constant again: changes nothing"
    kept = line.last if is_keep(line.last) else None
    return f"beaten by {(kept or winner).source}"


def _formula(write: Write) -> str:
    if not isinstance(write, Fill):
        return ""
    reference = f" [{write.initializer.reference}]" if write.initializer.reference else ""
    return f"; {write.initializer.formula}{reference}"


def diff(mine: Mapping[str, Line], other: Mapping[str, Line]) -> str:
    """`- ` what the first has, `+ ` what the second has, for every tensor that differs."""
    rows = []
    for name in dict.fromkeys([*mine, *other]):
        before, after = _brief(mine.get(name)), _brief(other.get(name))
        if before != after:
            rows += [f"- {before}"] if before else []
            rows += [f"+ {after}"] if after else []
    return "\n".join(rows)


def _brief(line: Line | None) -> str:
    if line is None:
        return ""
    # two plans may have captured other values at the same place
    digests = [f"values {w.digest[:12]}" for w in line.carried_out if isinstance(w, Capture)]
    return " | ".join([*row(line), *digests])
