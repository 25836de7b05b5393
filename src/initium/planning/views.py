"""A line of a plan in words."""

from __future__ import annotations

from collections.abc import Mapping

from initium.planning.writes import Fill, Line, Load, Write

COLUMNS = ["tensor", "shape", "initializer", "std", "source"]


def row(line: Line) -> list[str]:
    """The cells of a line in the table of a plan."""
    last = line.last
    std = "" if line.std is None else f"{line.std:.4g}"
    what = "–" if last is None else str(last)
    source = "set by nothing: stays as it is" if last is None else last.source
    name = " = ".join([line.name, *line.aliases])
    return [name, "×".join(map(str, line.shape)) or "scalar", what, std, source]


def explain(line: Line) -> str:
    """Every write that mentions a tensor, in the order of precedence, and what becomes of it."""
    head = f"{line.name} - {list(line.shape)} {line.dtype}"
    if not line.writes:
        return f"{head}\n  nothing mentions it: it stays as the constructor made it"
    rows = [f"  {i}. {w} — {w.source}: {_fate(line, w)}" for i, w in enumerate(line.writes, 1)]
    return "\n".join([head, *rows])


def _fate(line: Line, write: Write) -> str:
    winner = line.write
    if write in line.calls:
        return "runs in its place; what it writes, the report says"
    if write == winner:
        after = " (before the user code)" if line.last is not winner else ""
        return f"wins{after}: the last declared write, later beats earlier{_formula(write)}"
    assert winner is not None
    if write.order > winner.order:
        return "the same constant again: changes nothing"
    return f"beaten by {winner.source}"


def _formula(write: Write) -> str:
    if isinstance(write, Load) or not isinstance(write, Fill):
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
    return "" if line is None else " | ".join(row(line))
