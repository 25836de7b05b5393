"""YAML and JSON -> dicts and lists that know their lines.

YAML is read by the core schema of its version 1.2, as editors and other languages read it: `1e-3`
is a number, `yes`, `no`, `on` and `off` are words, `010` is ten. Anchors and merge keys work.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import yaml

from initium.errors import InitError
from initium.reading.hints import json_hint, yaml_hint
from initium.reading.positions import Place, PlacedDict, PlacedList, placed_dict, placed_list

# people write configs that they have read back to YAML
yaml.SafeDumper.add_representer(PlacedDict, yaml.SafeDumper.represent_dict)
yaml.SafeDumper.add_representer(PlacedList, yaml.SafeDumper.represent_list)

TAG = "tag:yaml.org,2002:"


class Yaml12(yaml.SafeLoader):
    """Composes YAML; plain words mean what the core schema of YAML 1.2 says."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 (those of YAML 1.1 are left out)


for _kind, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    ("float", r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
              r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))", list("-+.0123456789")),
    ("merge", "<<", ["<"]),
):  # fmt: skip
    Yaml12.add_implicit_resolver(TAG + _kind, re.compile(rf"{_pattern}\Z"), _first)


def from_yaml(text: str, file: str) -> Any:
    """What a YAML file says.

    Raises:
        InitError: with file and line: no YAML, a key twice, a tag, or an alias within its anchor.
    """
    return _Nodes(file, _yaml_scalar).value(_composed(text, file))


def from_json(text: str, file: str) -> Any:
    """What a JSON file says, by the rules of JSON alone; its nodes, which are YAML, tell the lines.

    Raises:
        InitError: with file and line: no JSON, or a key twice.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        hint = json_hint(text, error.pos)
        raise InitError(broken(file, error.lineno, error.colno, error.msg, hint)) from error
    # JSON may be indented by tabs, which YAML refuses; within its strings there are none
    try:
        nodes = yaml.compose(text.replace("\t", " "), Loader=Yaml12)
    except yaml.YAMLError:  # rare shapes, such as a colon on a line of its own
        return json.loads(text, object_pairs_hook=_unique(file), parse_constant=_no_constant)

    def scalar(node: yaml.ScalarNode) -> Any:
        return json.loads(text[slice(*_marks(node))], parse_constant=_no_constant)

    assert nodes is not None  # no JSON is empty
    return _Nodes(file, scalar).value(nodes)


class _Nodes:
    """The values of YAML nodes.

    Args:
        file: for messages.
        scalar: the value of a scalar node.
    """

    def __init__(self, file: str, scalar: Callable[[yaml.ScalarNode], Any]) -> None:
        self.file, self.scalar = file, scalar
        self.known: dict[int, Any] = {}
        self.open: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        """The value of a node; an alias has that of its anchor."""
        if id(node) in self.open:
            raise self.error(node, "an alias within its own anchor")
        if id(node) not in self.known:
            self.open.add(id(node))
            self.known[id(node)] = self._made(node)
            self.open.remove(id(node))
        return self.known[id(node)]

    def _made(self, node: yaml.Node) -> Any:
        kind = node.tag.removeprefix(TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._dict(node)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            lines: dict[str | int, int] = {i: _line(each) for i, each in enumerate(node.value)}
            place = Place(self.file, _line(node), lines=lines)
            return placed_list([self.value(each) for each in node.value], place)
        if not isinstance(node, yaml.ScalarNode) or kind not in _SCALARS:
            raise self.error(node, f"the tag {node.tag!r} has no meaning in a config")
        try:
            return self.scalar(node)
        except ValueError as error:  # an InitError among them
            raise self.error(node, f"cannot read {node.value!r}: {error}") from error

    def _dict(self, node: yaml.MappingNode) -> PlacedDict:
        own: dict[str, Any] = {}
        lines: dict[str | int, int] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            is_merge = key_node.tag == f"{TAG}merge"
            key = "<<" if is_merge else self.value(key_node)
            if not isinstance(key, str):
                raise self.error(key_node, f"a key must be a string, but got {key!r}")
            if key in lines:
                raise self.error(key_node, f"{key!r} stands here twice, first in line {lines[key]}")
            lines[key] = _line(key_node)
            if is_merge:
                merged = self._merged(value_node)
            else:
                own[key] = self.value(value_node)
        return placed_dict({**merged, **own}, Place(self.file, _line(node), lines=lines))

    def _merged(self, node: yaml.Node) -> dict[str, Any]:
        many = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for each in many:
            value = self.value(each)
            if not isinstance(value, dict):
                raise self.error(each, f"<< takes a mapping or a list of them, but got {value!r}")
            merged = {**value, **merged}  # the earlier one wins
        return merged

    def error(self, node: yaml.Node, text: str) -> InitError:
        """The error of a node, with file and line."""
        return InitError(f"{self.file}, line {_line(node)}: {text}")


_SCALARS = ("str", "null", "bool", "int", "float")


def _yaml_scalar(node: yaml.ScalarNode) -> Any:
    kind, text = node.tag.removeprefix(TAG), node.value
    if kind == "int":
        return int(text, 0 if text[:2] in ("0x", "0o") else 10)
    if kind == "float":
        return float(re.sub(r"\.(?=[iInN])", "", text))
    return {"null": None, "bool": text.lower() == "true"}.get(kind, text)


def _composed(text: str, file: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=Yaml12)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = (error.problem or error.context or "no YAML").removeprefix("but ")
        raise InitError(broken(file, line, column, problem, yaml_hint(problem))) from error
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise InitError(f"cannot read the config {file}: it is no text: {problem}") from error
    if node is None:
        raise InitError(f"the config {file} is empty; write a list of rules: - {{type: Normal, …}}")
    return node


def broken(file: str, line: int, column: int, problem: str, hint: str = "") -> str:
    """The message of a file that is not in its format."""
    place = f"cannot read the config {file}, line {line}, column {column}"
    return f"{place}: {problem}" + (f"; {hint}" if hint else "")


def _unique(file: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise InitError(f"{file}: {key!r} stands twice in one object")
        return dict(pairs)

    return made


def _no_constant(name: str) -> Any:
    raise InitError(f"{name} is no JSON; YAML (.inf, .nan) and TOML (inf, nan) have such numbers")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _marks(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index
