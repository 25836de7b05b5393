"""TOML -> tables that know their lines, as far as they have headers of their own."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from initium.errors import InitError
from initium.reading.nodes import broken
from initium.reading.positions import Place, PlacedDict, placed_dict, placed_list

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)$")
_Table = tuple[str, int, dict[str | int, int]]  # (dotted name, line, lines of its keys)
_HEADER = re.compile(r"\s*\[\[?\s*([\w.\s-]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*["']?([\w$-]+)["']?\s*=""")


def from_toml(text: str, file: str) -> Any:
    """What a TOML file says; `[[init_cfg]]` and the tables within know their lines.

    Raises:
        InitError: with file and line: no TOML, or a key twice.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem, line, column = _place(str(error), text)
        raise InitError(broken(file, line, column, problem)) from error
    cfg = data.get("init_cfg")
    headers = list(_tables(text))
    rules = [cfg] if isinstance(cfg, dict) else cfg
    if isinstance(rules, list) and all(isinstance(rule, dict) for rule in rules):
        placed = placed_list(_toml_rules(rules, headers, file), Place(file, 1))
        data["init_cfg"] = placed[0] if isinstance(cfg, dict) else placed
    return placed_dict(data, Place(file, 1))


def _place(message: str, text: str) -> tuple[str, int, int]:
    """What is wrong, in which line and column; the end of the file where that is not said."""
    found = _TOML_PLACE.search(message)
    problem = message[: message.rfind("(at ")].strip() or message
    rows = text.splitlines() or [""]
    if found is None:
        return problem, len(rows), len(rows[-1]) + 1
    return problem, int(found[1]), int(found[2])


def _tables(text: str) -> Iterator[_Table]:
    """The tables of a TOML file, in order; the first is the nameless one."""
    name, line, lines = "", 1, dict[str | int, int]()
    for number, row in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(row):
            yield name, line, lines
            name, line, lines = re.sub(r"\s", "", header[1]), number, {}
        elif key := _KEY.match(row):
            lines.setdefault(key[1], number)
    yield name, line, lines


def _toml_rules(rules: list[dict[str, Any]], tables: list[_Table], file: str) -> list[PlacedDict]:
    found = [table for table in tables if table[0] in ("init_cfg", "init_cfg.override")]
    starts = [i for i, table in enumerate(found) if table[0] == "init_cfg"]
    if len(starts) != len(rules):  # written inline: all that is known is where they begin
        line = next((t[2]["init_cfg"] for t in tables if "init_cfg" in t[2]), 1)
        return [placed_dict(rule, Place(file, line)) for rule in rules]
    ends = [*starts[1:], len(found)]
    return [
        _toml_rule(rule, found[start:end], file)
        for rule, start, end in zip(rules, starts, ends, strict=True)
    ]


def _toml_rule(rule: dict[str, Any], tables: list[_Table], file: str) -> PlacedDict:
    (_, line, lines), *within = tables
    made = placed_dict(rule, Place(file, line, lines=lines))
    override = rule.get("override")
    many = [override] if isinstance(override, dict) else override
    if isinstance(many, list) and len(many) == len(within):
        each = [
            placed_dict(o, Place(file, at, lines=keys))
            for o, (_, at, keys) in zip(many, within, strict=True)
        ]
        whole = placed_list(each, Place(file, line))
        made["override"] = each[0] if isinstance(override, dict) else whole
    return made
