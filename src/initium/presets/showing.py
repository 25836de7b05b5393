"""Presets for people: a list of all, and the rules of one as YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from initium.errors import InitError, located
from initium.presets.registry import PRESETS, Preset


@dataclass(frozen=True)
class Listed:
    """Several presets, with arguments and reference."""

    presets: tuple[Preset, ...]

    def to_dict(self) -> list[dict[str, Any]]:
        """As data, an entry a preset."""
        return [_data(preset) for preset in self.presets]

    def __str__(self) -> str:
        return "\n\n".join(
            "\n".join([_head(p), *(f"    {text}" for text in _texts(p))]) for p in self.presets
        )


@dataclass(frozen=True)
class Shown:
    """The rules that one preset gives for some arguments."""

    preset: Preset
    arguments: dict[str, Any]
    rules: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """As data, rules and the arguments they follow from."""
        return {**_data(self.preset), "given": self.arguments, "rules": self.rules}

    def __str__(self) -> str:
        import yaml

        given = ", ".join(f"{k}={v!r}" for k, v in self.arguments.items())
        head = [f"{self.preset.label}: {given}" if given else self.preset.label]
        comments = "".join(f"# {text}\n" for text in [*head, *_texts(self.preset)])
        rules = yaml.safe_dump(
            self.rules, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100
        )
        return comments + rules.rstrip()


def listed() -> Listed:
    """The newest of every preset."""
    return Listed(tuple(PRESETS.find(name) for name in PRESETS))


def shown(name: str, pairs: Iterable[str] = ()) -> Shown:
    """The rules of a preset, with arguments given as `NAME=VALUE`.

    Raises:
        InitError: no such preset or argument, or a value it does not take.

    >>> print(shown("llama", ["std=0.01"]).rules[0])
    {'type': 'Normal', 'layer': ['Linear', 'Embedding'], 'std': 0.01}
    """
    preset = PRESETS.find(name)
    given = dict(map(_pair, pairs))
    known = {k: p.default for k, p in preset.arguments.items() if p.default is not p.empty}
    return Shown(preset, {**known, **given}, preset.rules(given))


def _pair(text: str) -> tuple[str, Any]:
    from initium.reading.nodes import from_yaml

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InitError(f"an argument is written NAME=VALUE, but got {text!r}")
    with located(f"--arg {text}"):
        return name, from_yaml(value, "after =") if value else ""


def _head(preset: Preset) -> str:
    arguments = ", ".join(
        name if p.default is p.empty else f"{name}={p.default!r}"
        for name, p in preset.arguments.items()
    )
    return f"{preset.label}({arguments})"


def _texts(preset: Preset) -> list[str]:
    equals = preset.equals and f"equals {preset.equals}"
    return [text for text in (preset.formula, preset.reference, equals) if text]


def _data(preset: Preset) -> dict[str, Any]:
    arguments = {
        name: {} if p.default is p.empty else {"default": p.default}
        for name, p in preset.arguments.items()
    }
    texts = {key: getattr(preset, key) for key in ("formula", "reference", "equals")}
    return {"name": preset.name, "version": preset.version, "arguments": arguments, **texts}
