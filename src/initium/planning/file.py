"""A plan as JSON and back, losing nothing. Captured values lie in a safetensors file beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from initium.checkpoint import CHECKPOINT_ADAPTERS, Adapter, Recipe
from initium.checkpoint.loading import Loading
from initium.errors import InitError, InitFileNotFoundError, located
from initium.initializers import initializer_from_dict
from initium.lines import Finding, Line
from initium.planning.captured import save_values, whole, with_values
from initium.streams import Seed, check_rng
from initium.writes import Capture, Fill, Load, Where, Write

VERSION = 4
_MADE_BY = "as `initium plan … -o FILE` and Plan.save write it"
_KINDS: dict[str, type[Write]] = {"fill": Fill, "load": Load, "capture": Capture}


def save(plan: Mapping[str, Any], path: Path) -> None:
    """Write the fields of a plan to `path`: all of it, or nothing."""
    text = json.dumps(to_dict(plan), indent=1, ensure_ascii=False)
    save_values(plan["lines"], path)
    with whole(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> dict[str, Any]:
    """The fields of the plan that `save` wrote."""
    if not path.is_file():
        raise InitFileNotFoundError(f"there is no plan file {path}")
    try:
        plan = from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InitError(f"{path} is no plan, {_MADE_BY}: {error}") from error
    except (TypeError, ValueError) as error:  # of initializers and adapters, users' own among them
        raise InitError(f"{path} is no plan of version {VERSION}, {_MADE_BY}: {error}") from error
    return {**plan, "lines": with_values(plan["lines"], path)}


def to_dict(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a plan as data that JSON can hold."""
    return {
        "initium_plan": VERSION,
        "model": plan["model"],
        "seed": _seed_to_data(plan["seed"]),
        "rng": plan["rng"],
        "loadings": [asdict(loading) for loading in plan["loadings"]],
        "findings": [{"kind": f.kind, "message": f.message} for f in plan["findings"]],
        "lines": [
            {
                "name": line.name,
                "path": line.path,
                "shape": list(line.shape),
                "dtype": line.dtype,
                "aliases": list(line.aliases),
                "writes": [_write_to_dict(write) for write in line.writes],
                **({} if line.persistent else {"persistent": False}),
            }
            for line in plan["lines"].values()
        ],
    }


def from_dict(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of the plan that `to_dict` described."""
    if not isinstance(data, dict) or "initium_plan" not in data:
        raise InitError("it does not say which version it is")
    if data["initium_plan"] != VERSION:
        raise InitError(f"it is of version {data['initium_plan']!r}")
    from initium.planning.written import check_written  # pydantic is for files only

    check_written(data)
    seed = _seed_from_data(data["seed"])
    check_rng(data["rng"], seed)
    lines = list(map(_line_from_dict, data["lines"]))
    _check_apart(lines)
    return {
        "model": data["model"],
        "lines": {line.name: line for line in lines},
        "loadings": tuple(map(Loading.from_dict, data["loadings"])),
        "findings": tuple(Finding(**finding) for finding in data["findings"]),
        "seed": seed,
        "rng": data["rng"],
    }


def _line_from_dict(data: dict[str, Any]) -> Line:
    from initium.planning.written import check_part

    shape = tuple(data["shape"])
    with located(data["name"]):
        for write in data["writes"]:
            check_part(write.get("where") or [], shape)
        return Line(
            name=data["name"],
            path=data["path"],
            shape=shape,
            dtype=data["dtype"],
            aliases=tuple(data["aliases"]),
            writes=tuple(map(_write_from_dict, data["writes"])),
            persistent=data.get("persistent", True),
        )


def _check_apart(lines: list[Line]) -> None:
    times = Counter(name for line in lines for name in {line.name, *line.aliases})
    for name, n in times.items():
        if n > 1:
            raise InitError(f"{n} lines are of the tensor {name}")


def _write_to_dict(write: Write) -> dict[str, Any]:
    kind = next(kind for kind, cls in _KINDS.items() if isinstance(write, cls))
    data = {f.name: getattr(write, f.name) for f in fields(write) if f.compare}
    if isinstance(write, Fill):
        data["initializer"] = write.initializer.to_dict()
        data["where"] = None if write.where is None else [s and list(s) for s in write.where.slices]
    if isinstance(write, Load):
        data["recipe"] = write.recipe.to_dict()
        data["adapters"] = [adapter.to_dict() for adapter in write.adapters]
    return {"kind": kind, **data}


def _write_from_dict(data: dict[str, Any]) -> Write:
    arguments = dict(data)
    cls = _KINDS[arguments.pop("kind")]
    if cls is Fill:
        arguments["initializer"] = initializer_from_dict(arguments["initializer"])
        where = arguments["where"]
        slices = None if where is None else tuple(s and tuple(s) for s in where)
        arguments["where"] = None if slices is None else Where(slices)
    if cls is Load:
        arguments["recipe"] = Recipe.from_dict(arguments["recipe"])
        arguments["adapters"] = CHECKPOINT_ADAPTERS.build_list(
            "adapters", arguments["adapters"], Adapter
        )
    return cls(**arguments)


def _seed_to_data(seed: Seed | None) -> Any:
    return list(map(_seed_to_data, seed)) if isinstance(seed, tuple) else seed


def _seed_from_data(data: Any) -> Any:
    return tuple(map(_seed_from_data, data)) if isinstance(data, list) else data
