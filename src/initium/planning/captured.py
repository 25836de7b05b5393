"""The captured values of a plan, in a safetensors file beside that of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from initium.digest import digest_of
from initium.errors import InitError, InitFileNotFoundError
from initium.lines import Line
from initium.writes import Capture


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file at `path`, if all of it was written."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """`plan.values.safetensors`, of a plan in `plan.json`."""
    return path.with_name(f"{path.stem}.values.safetensors")


def _captures(line: Line) -> list[Capture]:
    return [w for w in line.carried_out if isinstance(w, Capture) and w.digest]


def save_values(lines: Mapping[str, Line], path: Path) -> None:
    """Write the values that the plan at `path` has captured, if there are any."""
    values = {
        line.name: capture.values.contiguous()
        for line in lines.values()
        for capture in _captures(line)
        if capture.values is not None
    }
    if values:
        from safetensors.torch import save_file

        with whole(_beside(path)) as part:
            save_file(values, part)


def with_values(lines: dict[str, Line], path: Path) -> dict[str, Line]:
    """The lines of the plan at `path` with their values.

    Raises:
        InitError: they are not there, or others.
    """
    if not any(_captures(line) for line in lines.values()):
        return lines
    beside = _beside(path)
    if not beside.is_file():
        raise InitFileNotFoundError(
            f"there is no {beside}, which holds the values that the plan has captured; keep both "
            "files together"
        )
    from safetensors import safe_open

    with safe_open(beside, framework="pt") as file:
        return {name: _with_values(line, file, beside) for name, line in lines.items()}


def _with_values(line: Line, file: Any, beside: Path) -> Line:
    captures = _captures(line)
    if not captures:
        return line
    values = file.get_tensor(line.name) if line.name in file.keys() else None  # noqa: SIM118 (no dict)
    if (
        values is None
        or tuple(values.shape) != line.shape
        or digest_of(values) != captures[0].digest
    ):
        raise InitError(f"{beside} does not hold the values of {line.name} that the plan speaks of")
    writes = (replace(w, values=values) if w is captures[0] else w for w in line.writes)
    return replace(line, writes=tuple(writes))
