"""Lightning: a callback that initialises what a Trainer fits, once, and never what it restored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from initium.apply import apply, initialize
from initium.config import InitCfg
from initium.materializing import materialize
from initium.modules import init_declared
from initium.planning import Plan, plan_of, planned_within
from initium.report import Report
from initium.streams import Seed


class InitWeights(Callback):  # type: ignore[misc]  # lightning need not be installed for mypy
    """Initialises the model when `Trainer.fit` starts, whatever the strategy; not when it resumes.

    It runs after the strategy has placed, wrapped or sharded the model, and before the first step.
    Parameters stay the same objects, so that optimizers, which exist by then, hold on to them. With
    a `ckpt_path` nothing is done: the checkpoint has the last word. What is on `meta` and was made
    by `initium.build` gets memory before the strategy sees it.

    Args:
        init_cfg: rules, by the names of the LightningModule (`net.head.weight`). None: what its
            modules declare (`BaseModule`), and the plans of those that `initium.build` made.
        seed: an int, a str or a tuple of them; None: the same on all ranks, from torch's generator.
        strict: rules without effect are errors, before the first write.
        cover: `'all'`: a parameter that no rule sets is a finding, too.

    Attributes:
        reports: what happened, once training has started; empty where it was resumed.

    >>> trainer = Trainer(callbacks=[InitWeights(dict(type="Normal", layer="Linear"), seed=0)])
    ... # doctest: +SKIP
    """

    def __init__(
        self,
        init_cfg: InitCfg | None = None,
        seed: Seed | None = None,
        strict: bool = False,
        cover: str | None = None,
    ) -> None:
        self.init_cfg, self.seed, self.strict, self.cover = init_cfg, seed, strict, cover
        self.reports: list[Report] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give memory to what was built on `meta`: most strategies cannot move it otherwise."""
        del trainer
        for model in planned_within(pl_module) if stage == "fit" else ():
            if any(parameter.is_meta for parameter in model.parameters()):
                materialize(model, seed=self.seed, device=torch.device("cpu"))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Initialise, unless a checkpoint was or will be restored."""
        if trainer.ckpt_path is not None:
            return
        self.reports = self._start(pl_module)
        self._log(trainer, pl_module)

    def _start(self, model: nn.Module) -> list[Report]:
        options: dict[str, Any] = {"seed": self.seed, "strict": self.strict, "cover": self.cover}
        if self.init_cfg is not None:
            return [initialize(model, self.init_cfg, **options)]
        planned = planned_within(model)
        if planned:
            return [apply(_drawn_by(self.seed, plan_of(module)), module) for module in planned]
        report = init_declared(model, **options)
        return [] if report is None else [report]

    def _log(self, trainer: Trainer, model: nn.Module) -> None:
        """The seed and the plan's digest among the hyperparameters; the report in the log's folder."""
        plans = [plan_of(module) for module in planned_within(model)]
        said = {
            "initium_seed": [repr(report.seed) for report in self.reports],
            "initium_plan": [plan.digest for plan in plans],
        }
        for logger in trainer.loggers:
            logger.log_hyperparams({k: ", ".join(v) for k, v in said.items()})
        place = trainer.log_dir  # asked for by all ranks: Lightning broadcasts it
        if trainer.is_global_zero and place is not None:
            folder = Path(place)
            folder.mkdir(parents=True, exist_ok=True)
            reports = [report.to_dict() for report in self.reports]
            (folder / "initium.json").write_text(json.dumps(reports, indent=1), encoding="utf-8")


def _drawn_by(seed: Seed | None, plan: Plan) -> Plan:
    return plan if seed is None else replace(plan, seed=seed)
