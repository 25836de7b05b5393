"""A plan as JSON and back, losing nothing but the handles of user code and open files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from initium.errors import InitError, InitFileNotFoundError
from initium.initializers import initializer_from_dict
from initium.planning.writes import Call, Fill, Finding, Line, Load, Write
from initium.streams import Seed

VERSION = 2
_KINDS: dict[str, type[Write]] = {"fill": Fill, "load": Load, "call": Call}


def save(plan: Mapping[str, Any], path: Path) -> None:
    """Write the fields of a plan to `path`: all of it, or nothing."""
    text = json.dumps(to_dict(plan), indent=1, ensure_ascii=False)
    part = path.with_name(path.name + ".part")
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path)


def load(path: Path) -> dict[str, Any]:
    """The fields of the plan that `save` wrote."""
    if not path.is_file():
        raise InitFileNotFoundError(f"there is no plan file {path}")
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InitError(f"{path} is no plan of version {VERSION}: {error}") from error


def to_dict(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a plan as data that JSON can hold."""
    return {
        "initium_plan": VERSION,
        "model": plan["model"],
        "seed": _seed_to_data(plan["seed"]),
        "rng": plan["rng"],
        "findings": [{"kind": f.kind, "message": f.message} for f in plan["findings"]],
        "calls": [_write_to_dict(call) for call in plan["calls"]],
        "lines": [
            {
                "name": line.name,
                "path": line.path,
                "shape": list(line.shape),
                "dtype": line.dtype,
                "aliases": list(line.aliases),
                # user code stands once in "calls"; a line refers to it by its order
                "writes": [
                    w.order if isinstance(w, Call) else _write_to_dict(w) for w in line.writes
                ],
            }
            for line in plan["lines"].values()
        ],
    }


def from_dict(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of the plan that `to_dict` described."""
    if data.get("initium_plan") != VERSION:
        raise InitError(f"initium_plan is {data.get('initium_plan')!r}")
    calls = {call["order"]: _write_from_dict(call) for call in data["calls"]}
    lines = [
        Line(
            name=line["name"],
            path=line["path"],
            shape=tuple(line["shape"]),
            dtype=line["dtype"],
            aliases=tuple(line["aliases"]),
            writes=tuple(
                calls[w] if isinstance(w, int) else _write_from_dict(w) for w in line["writes"]
            ),
        )
        for line in data["lines"]
    ]
    return {
        "model": data["model"],
        "lines": {line.name: line for line in lines},
        "calls": tuple(calls.values()),
        "findings": tuple(Finding(**finding) for finding in data["findings"]),
        "seed": _seed_from_data(data["seed"]),
        "rng": data["rng"],
    }


def _write_to_dict(write: Write) -> dict[str, Any]:
    kind = next(kind for kind, cls in _KINDS.items() if isinstance(write, cls))
    data = {f.name: getattr(write, f.name) for f in fields(write) if f.compare}
    if isinstance(write, Fill):
        data["initializer"] = write.initializer.to_dict()
    return {"kind": kind, **data}


def _write_from_dict(data: dict[str, Any]) -> Write:
    arguments = dict(data)
    cls = _KINDS[arguments.pop("kind")]
    if cls is Fill:
        arguments["initializer"] = initializer_from_dict(arguments["initializer"])
    return cls(**arguments)


def _seed_to_data(seed: Seed | None) -> Any:
    return list(map(_seed_to_data, seed)) if isinstance(seed, tuple) else seed


def _seed_from_data(data: Any) -> Any:
    return tuple(map(_seed_from_data, data)) if isinstance(data, list) else data
