"""Report: what happened to every tensor, as data; text, JSON and HTML are views of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from initium.checkpoint.loading import Loading
from initium.report import table
from initium.streams import Seed


@dataclass(frozen=True)
class Entry:
    """What happened to one tensor.

    Attributes:
        name: of the tensor.
        shape: of the tensor.
        kind: `filled`, `loaded`, `user code`, `kept` or `unset`.
        info: what the log says: the initializer with its arguments, or who set it.
        source: where that was declared.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    info: str
    source: str

    def __str__(self) -> str:
        return f"{self.name} - torch.Size({list(self.shape)}):\n{self.info}"


@dataclass(frozen=True)
class Report:
    """What an initialisation did.

    Attributes:
        model: the class of the model.
        seed: what the random streams were made from: with it, the same values come again. None:
            torch's default generators drew (`rng="torch"`).
        entries: one a tensor.
        findings: what had no effect, was not loaded, or was set by nothing.
        loadings: what each checkpoint gave: loaded, adapted, fresh and unused tensors.

    >>> import initium
    >>> from torch import nn
    >>> initium.initialize(nn.Linear(3, 2), dict(type="Xavier", layer="Linear"), seed=0).counts
    {'filled': 2}
    """

    model: str
    seed: Seed | None
    entries: tuple[Entry, ...]
    findings: tuple[str, ...] = ()
    loadings: tuple[Loading, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many tensors of each kind."""
        return dict(Counter(entry.kind for entry in self.entries))

    def __getitem__(self, name: str) -> Entry:
        """The entry of a tensor; KeyError where there is none."""
        return {entry.name: entry for entry in self.entries}[name]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def to_dict(self) -> dict[str, Any]:
        """The report as data that JSON can hold."""
        return asdict(self)

    def _rows(self) -> tuple[str, list[str], list[list[str]], tuple[str, ...]]:
        counts = ", ".join(f"{n} {kind}" for kind, n in self.counts.items())
        title = f"report of {self.model}: {counts}; seed {self.seed!r}"
        rows = [
            [e.name, "×".join(map(str, e.shape)) or "scalar", e.kind, e.info, e.source]
            for e in self.entries
        ]
        notes = (*map(self._loaded, self.loadings), *self.findings)
        return title, ["tensor", "shape", "what", "how", "source"], rows, notes

    def _loaded(self, loading: Loading) -> str:
        by_name = {entry.name: entry for entry in self.entries}
        return loading.describe(lambda name: by_name[name].info if name in by_name else "kept")

    def __str__(self) -> str:
        return table.text(*self._rows())

    def _repr_html_(self) -> str:
        return table.html(*self._rows())
