"""Plan: tensor name -> the writes foreseen for it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from initium.checkpoint import Files
from initium.checkpoint.loading import Loading
from initium.errors import InitError, InitKeyError, near_or_some
from initium.given import check_is
from initium.lines import Finding, Line
from initium.planning import file, views
from initium.planning.selecting import Names, lines_of_part
from initium.report import table
from initium.streams import Seed

_PART = "a part of "


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
        files: the checkpoints that are open; they stay so, and what they are, while the plan is
            there. Others are opened when it is carried out.

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
    files: Files = field(default_factory=Files, compare=False, repr=False)

    def __getitem__(self, name: str) -> Line:
        """The line of a tensor, by its name, its path without wrappers, or an alias."""
        if name in self.lines:
            return self.lines[name]
        for line in self:
            if name == line.path or name in line.aliases:
                return line
        raise InitKeyError(f"no tensor {name!r} in the plan.{near_or_some(name, self.lines)}")

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines.values())

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, name: object) -> bool:
        return name in self.lines

    def rule_of(self, name: str) -> str:
        """What a tensor gets, in words."""
        return (self.lines[name].what if name in self.lines else "") or "kept as it is"

    def said(self) -> dict[str, str]:
        """What each tensor gets, in words: equal texts (and seeds), equal values."""
        return {"the seed": repr(self.seed), **{line.name: line.said for line in self}}

    @property
    def digest(self) -> str:
        """A fingerprint of all that decides about values: two plans with the same give the same."""
        texts = json.dumps([self.rng, list(self.said().items())])
        return hashlib.sha256(texts.encode()).hexdigest()[:32]

    @property
    def unset(self) -> list[str]:
        """Names of the tensors that nothing in the plan mentions."""
        return [line.name for line in self if not line.writes]

    def explain(self, name: str) -> str:
        """Every write that mentions a tensor, in order, and which one wins, and why."""
        return views.explain(self[name])

    def diff(self, other: Plan) -> str:
        """What differs between this plan and another one, a line a tensor; empty: nothing.

        Where seeds differ, all that is random does; a line says so.
        """
        check_is("other", other, Plan, "an initium.Plan")
        mine, others = (f"seed {plan.seed!r}, rng {plan.rng!r}" for plan in (self, other))
        seeds = [] if mine == others else [f"- {mine}", f"+ {others}"]
        lines = views.diff(self.lines, other.lines)
        return "\n".join([*seeds, *([lines] if lines else [])])

    def select(self, names: Names) -> Plan:
        """The plan of a part of the model, whose tensors get the values that the whole would have.

        For the stages of a pipeline, and for a module that is built alone. A tied tensor is part of
        it under whichever of its names is asked for. Notes on the whole (`findings`, `loadings`)
        stay as they are; without a seed, each part would draw its own.

        Args:
            names: which tensors, and how they are named in the part. A prefix, as
                `"model.layers.3"`: what is below it, named from there. A mapping from prefixes in
                the whole to prefixes in the part, as
                `{"model.layers.3": "layers.0", "lm_head": "lm_head"}`: of several that fit, the
                longest counts; `""` is the root. Or the part itself, an `nn.Module` whose tensors
                have the names that they have in the whole.

        Raises:
            InitKeyError: a KeyError; a prefix fits no tensor, or the module has none of the plan.
            InitError: two tensors would have one name, or `rng='torch'`, which draws the tensors
                of the whole one after the other.

        >>> import initium
        >>> from torch import nn
        >>> whole = initium.build(lambda: nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), seed=0)
        >>> part = initium.plan_of(whole).select("1")
        >>> last = nn.Linear(2, 2, device="meta")
        >>> _ = initium.materialize(last, plan=part)
        >>> last.weight.equal(whole[1].weight)
        True
        """
        if self.rng != "philox":
            raise InitError(
                f"a plan with rng={self.rng!r} draws its tensors one after the other, so a part has "
                "no values of its own; make the plan with rng='philox'"
            )
        name = self.model if self.model.startswith(_PART) else _PART + self.model
        return replace(self, model=name, lines=lines_of_part(self.lines, names))

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON; `Plan.load` gives an equal plan."""
        file.save(vars(self), _path(path))

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan that `save` wrote.

        Raises:
            InitFileNotFoundError: a FileNotFoundError; there is no such file.
            InitError: the file is no plan.
        """
        return cls(**file.load(_path(path)))

    def _rows(self) -> tuple[str, list[str], list[list[str]], list[str]]:
        rng = "" if self.rng == "philox" else f", rng {self.rng!r}"
        tensors = "tensor" if len(self) == 1 else "tensors"
        title = f"plan of {self.model}: {len(self)} {tensors}, seed {self.seed!r}{rng}"
        notes = [loading.describe(self.rule_of) for loading in self.loadings]
        notes += [finding.message for finding in self.findings]
        return title, views.COLUMNS, [views.row(line) for line in self], notes

    def __str__(self) -> str:
        return table.text(*self._rows())

    def _repr_html_(self) -> str:
        return table.html(*self._rows())


def _path(path: str | Path) -> Path:
    check_is("path", path, (str, os.PathLike), "a path")
    return Path(path)
