"""What a checkpoint gave to a model: loaded, adapted, fresh, unused. It is data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from initium.errors import listing


@dataclass(frozen=True)
class Loading:
    """What a checkpoint gives to a model.

    Attributes:
        source: the rule.
        checkpoint: the path or URL.
        loaded: how many tensors are loaded, adapted ones included.
        adapted: (name, adapters) of those that are made to fit.
        fresh: names of the tensors that are not loaded and keep their own rule.
        unused: keys of the file that no tensor of the model has.
        elements: of the parameters that are loaded.
        total: elements of all parameters that the rule speaks of.
        superseded: the rule that made this one unnecessary: its file was not opened.
    """

    source: str
    checkpoint: str
    loaded: int = 0
    adapted: tuple[tuple[str, str], ...] = ()
    fresh: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    elements: int = 0
    total: int = 0
    superseded: str = ""

    @property
    def coverage(self) -> float:
        """The fraction of the parameters, by element, that is loaded."""
        return self.elements / self.total if self.total else 1.0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Loading:
        """From what `dataclasses.asdict` made, and JSON gave back."""
        lists = {k: tuple(data[k]) for k in ("fresh", "unused")}
        adapted = tuple((name, how) for name, how in data["adapted"])
        return cls(**{**data, **lists, "adapted": adapted})

    def describe(self, rule_of: Callable[[str], str]) -> str:
        """All of it in one line.

        Args:
            rule_of: what a tensor that is not loaded gets instead, by its name.
        """
        if self.superseded:
            return (
                f"{self.checkpoint} ({self.source}) is not needed, and was not opened: "
                f"{self.superseded} loads all of its tensors"
            )
        parts = [
            f"{self.checkpoint} ({self.source}): {self.loaded} of "
            f"{self.loaded + len(self.fresh)} tensors loaded, {_percent(self.coverage)} of "
            f"{self.total:,} parameters"
        ]
        if self.adapted:
            texts = listing(f"{name} ({how})" for name, how in self.adapted)
            parts.append(f"{len(self.adapted)} of them adapted: {texts}")
        if self.fresh:
            texts = listing(f"{name} ({rule_of(name)})" for name in self.fresh)
            parts.append(f"{len(self.fresh)} fresh: {texts}")
        if self.unused:
            parts.append(f"{len(self.unused)} keys unused: {listing(self.unused)}")
        return "; ".join(parts)


def _percent(fraction: float) -> str:
    """Never 100 unless it is all."""
    text = f"{fraction:.2%}"
    return "99.99%" if text == "100.00%" and fraction < 1 else text.replace(".00%", "%")
