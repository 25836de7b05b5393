"""Plan: tensor name -> the writes foreseen for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from initium.checkpoint.loading import Loading
from initium.errors import InitKeyError, did_you_mean
from initium.planning import file, views
from initium.report import table
from initium.streams import Seed
from initium.writes import Finding, Line


@dataclass(frozen=True)
class Plan:
    """What will happen to every tensor of a model, before anything is written.

    Attributes:
        model: the class of the model.
        lines: one line a tensor, by name, in the model's order.
        findings: rules without effect, keys that were not loaded, tensors that nobody set.
        loadings: what each checkpoint gives, and what it does not.
        seed: of the random streams; None: one is drawn when the plan is applied.
        rng: `'philox'`, or `'torch'` for torch's own functions in the order of the plan.

    >>> import initium
    >>> from torch import nn
    >>> p = initium.plan(nn.Linear(3, 2), dict(type="Xavier", layer="Linear"))
    >>> print(p["weight"].write, p["bias"].write)
    Xavier(gain=1, distribution='normal') Constant(val=0)
    """

    model: str
    lines: dict[str, Line]
    findings: tuple[Finding, ...] = ()
    loadings: tuple[Loading, ...] = ()
    seed: Seed | None = None
    rng: str = "philox"

    def __getitem__(self, name: str) -> Line:
        """The line of a tensor, by its name, its path without wrappers, or an alias."""
        if name in self.lines:
            return self.lines[name]
        for line in self:
            if name == line.path or name in line.aliases:
                return line
        raise InitKeyError(f"no tensor {name!r} in the plan.{did_you_mean(name, self.lines)}")

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines.values())

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, name: object) -> bool:
        return name in self.lines

    def rule_of(self, name: str) -> str:
        """What a tensor gets, in words."""
        return (self.lines[name].what if name in self.lines else "") or "kept as it is"

    @property
    def unset(self) -> list[str]:
        """Names of the tensors that nothing in the plan mentions."""
        return [line.name for line in self if not line.writes]

    def explain(self, name: str) -> str:
        """Every write that mentions a tensor, in order, and which one wins, and why."""
        return views.explain(self[name])

    def diff(self, other: Plan) -> str:
        """What differs between this plan and another one, a line a tensor; empty: nothing."""
        return views.diff(self.lines, other.lines)

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON; `Plan.load` gives an equal plan."""
        file.save(vars(self), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan that `save` wrote.

        Raises:
            InitFileNotFoundError: a FileNotFoundError; there is no such file.
            InitError: the file is no plan.
        """
        return cls(**file.load(Path(path)))

    def _rows(self) -> tuple[str, list[str], list[list[str]], list[str]]:
        rng = "" if self.rng == "philox" else f", rng {self.rng!r}"
        title = f"plan of {self.model}: {len(self)} tensors, seed {self.seed!r}{rng}"
        notes = [loading.describe(self.rule_of) for loading in self.loadings]
        notes += [finding.message for finding in self.findings]
        return title, views.COLUMNS, [views.row(line) for line in self], notes

    def __str__(self) -> str:
        return table.text(*self._rows())

    def _repr_html_(self) -> str:
        return table.html(*self._rows())
