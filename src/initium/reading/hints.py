"""What was probably meant: advice below the messages of a file that cannot be read, or a rule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from initium.errors import did_you_mean
from initium.registry import WEIGHT_INITIALIZERS

_WORDS = frozenset(["yes", "no", "on", "off", "y", "n"])
_NO_BOOL = "write true or false: yes, no, on and off are words here, as YAML 1.2 has it"
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")


def value_hint(value: object, message: str) -> str:
    """What a text was meant to be, where something else was asked for.

    >>> value_hint("0,02", "std must be a number")
    'in quotes or with a comma it is text; write the number 0.02'
    """
    if not isinstance(value, str):
        return ""
    if value.lower() in _WORDS:
        return _NO_BOOL
    if _NUMBER.fullmatch(value) and re.search(r"\b(number|int|float)\b", message):
        return f"in quotes or with a comma it is text; write the number {value.replace(',', '.')}"
    return ""


def rule_hint(rule: Mapping[str, Any]) -> str:
    """How to write a rule that has neither a `type` nor a `preset`.

    >>> rule_hint({"Normal": {"std": 1}})
    "write the name as the value of 'type', and the arguments beside it: type: Normal, std: 1"
    """
    if "type" in rule or "preset" in rule:
        return ""
    if "initium_plan" in rule:
        return "this file is a plan, which says what rules gave; a config holds the rules"
    for key, value in rule.items():
        if key in WEIGHT_INITIALIZERS:
            given = value if isinstance(value, Mapping) else {}
            beside = ", ".join([f"type: {key}", *(f"{k}: {v}" for k, v in given.items())])
            return f"write the name as the value of 'type', and the arguments beside it: {beside}"
        if isinstance(value, Mapping) and "init_cfg" in value:
            return f"init_cfg must stand at the top of the file, not below {key!r}"
        if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
            return f"the rules of a table stand under init_cfg, not under {key!r}"
        if key == "-type":
            return "a blank belongs between - and type"
        if near := did_you_mean(str(key), ("type", "preset")):
            return near.strip()
    return ""


_PROBLEMS = {
    "expected alphabetic or numeric character": "a value that begins with * or & stands in quotes: "
    "'**.weight'",
    "mapping values are not allowed": "is a blank missing behind a colon in the line before, or "
    "are quotes missing around a text with a colon?",
    "expected <block end>": "it is indented unlike the lines before that it belongs to",
    "<stream end>": "a bracket, brace or quote is never closed",
    "another document": "a config is one document, without a second ---",
    "cannot start any token": "indent by blanks, not tabs",
}


def yaml_hint(problem: str) -> str:
    """What is probably wrong where PyYAML has this problem."""
    return next((hint for words, hint in _PROBLEMS.items() if words in problem), "")


def json_hint(text: str, position: int) -> str:
    """What is probably wrong at a place in JSON."""
    rest, before = text[position : position + 1], text[:position].rstrip()
    if rest in ("/", "#"):
        return "JSON has no comments"
    if rest == "'":
        return "strings stand in double quotes"
    if rest in ("}", "]") and before.endswith(","):
        return "no comma stands before a closing bracket"
    if not text.strip():
        return "the file is empty"
    return ""
