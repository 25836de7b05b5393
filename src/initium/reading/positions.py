"""Configs that know where in a file they stand: dicts and lists, with a place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from initium.errors import InitError, located
from initium.reading.hints import rule_hint, value_hint


@dataclass(frozen=True)
class Place:
    """Where a part of a config stands.

    Attributes:
        file: as it was given, or seen from the working directory.
        line: of its beginning, from 1.
        rule: which one it is: `rule 2, override 1`; empty for what is no rule.
        lines: of its keys, or of the entries of a list.

    >>> print(Place("vit.yaml", 7, "rule 2"))
    vit.yaml, line 7 (rule 2)
    """

    file: str
    line: int
    rule: str = ""
    lines: Mapping[str | int, int] = field(default_factory=dict)

    def at(self, key: str | int | None) -> Place:
        """The place of one key or entry; its own where that is not known."""
        return self if key is None else replace(self, line=self.lines.get(key, self.line))

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" + (f" ({self.rule})" if self.rule else "")


class PlacedDict(dict[str, Any]):
    """A dict from a file, equal to a plain one."""

    place: Place


class PlacedList(list[Any]):
    """A list from a file, equal to a plain one."""

    place: Place


def placed_dict(values: Mapping[str, Any], place: Place) -> PlacedDict:
    """A copy of a dict, with its place."""
    made = PlacedDict(values)
    made.place = place
    return made


def placed_list(values: list[Any], place: Place) -> PlacedList:
    """A copy of a list, with its place."""
    made = PlacedList(values)
    made.place = place
    return made


def place_of(cfg: object) -> Place | None:
    """Where a config stands in a file; None for what was made by a program."""
    return cfg.place if isinstance(cfg, (PlacedDict, PlacedList)) else None


def numbered(cfg: Any, rule: str) -> Any:
    """A rule from a file, or an override, that knows which one it is; others as they are."""
    if not isinstance(cfg, PlacedDict):
        return cfg
    made = placed_dict(cfg, replace(cfg.place, rule=rule))
    override = cfg.get("override")
    if isinstance(override, PlacedDict):
        made["override"] = numbered(override, f"{rule}, override 1")
    elif isinstance(override, PlacedList):
        each = [numbered(o, f"{rule}, override {i}") for i, o in enumerate(override, 1)]
        made["override"] = placed_list(each, override.place)
    return made


def numbered_rules(cfg: Any) -> Any:
    """What a file holds, with its rules numbered from 1."""
    if not isinstance(cfg, PlacedList):
        return numbered(cfg, "rule 1")
    rules = [numbered(each, f"rule {i}") for i, each in enumerate(cfg, 1)]
    return placed_list(rules, cfg.place)


class reading(located):  # noqa: N801 (a context manager, read as a word)
    """Add to an `InitError` where a config stands: in a file, at the argument that it speaks of.

    Args:
        cfg: what is read within.
        otherwise: its place where it is from no file.
    """

    __slots__ = ("cfg",)

    def __init__(self, cfg: Any, otherwise: str) -> None:
        super().__init__(otherwise)
        self.cfg = cfg

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Blame the argument that the message names."""
        place = place_of(self.cfg)
        if isinstance(error, InitError) and isinstance(self.cfg, PlacedDict) and place:
            key = _blamed(self.cfg, str(error))
            self.place = str(place.at(key))
            hint = rule_hint(self.cfg) if key is None else value_hint(self.cfg[key], str(error))
            if hint:
                error.args = (f"{error} ({hint})",)
        super().__exit__(kind, error, trace)


def _blamed(cfg: PlacedDict, message: str) -> str | None:
    """The argument that a message is about: what it begins with, or quotes first."""
    begins = next((key for key in cfg if re.match(rf"{re.escape(key)}\b", message)), None)
    quoted = [text for text in re.findall(r"'([^']*)'", message) if text]
    if begins is not None or not quoted:
        return begins
    texts = {str(value): key for key, value in cfg.items()} | {key: key for key in cfg}
    return texts.get(quoted[0])
