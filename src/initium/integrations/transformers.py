"""transformers: models from scratch by a config, fresh tensors after `from_pretrained`, a check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import AutoModel, PretrainedConfig, TrainerCallback

from initium.apply import announce, apply_where
from initium.building import build
from initium.config import InitCfg
from initium.errors import InitError
from initium.planning import Plan, plan_config
from initium.report import Report
from initium.streams import Seed
from initium.tree import Tree
from initium.verification import verify


def from_config(
    config: PretrainedConfig,
    init_cfg: InitCfg | None = None,
    *,
    auto: Any = AutoModel,
    seed: Seed | None = None,
    **options: Any,
) -> Any:
    """A model from scratch: what transformers' own code writes, then rules, each tensor once.

    Args:
        config: of the model.
        init_cfg: rules on top, by the names of the model.
        auto: the class with `from_config`: `AutoModelForCausalLM`, …; or that of the model.
        seed: of the random streams.
        options: as in `initium.build`: `device="meta"`, `dtype`, `strict`, `cover`.

    Raises:
        InitError: as in `initium.build`.

    >>> from transformers import BertConfig
    >>> small = BertConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=1, \
intermediate_size=8, vocab_size=9)
    >>> model = from_config(small, dict(type="Constant", name="pooler.dense.bias", val=1), seed=0)
    >>> model.pooler.dense.bias.tolist()[:2]
    [1.0, 1.0]
    """
    make: Callable[[], Any] = lambda: (  # noqa: E731
        auto.from_config(config) if hasattr(auto, "from_config") else auto(config)
    )
    return build(make, seed=seed, init_cfg=init_cfg, **options)


def from_pretrained(
    auto: Any,
    name: str,
    init_cfg: InitCfg,
    *,
    seed: Seed | None = None,
    strict: bool = False,
    **arguments: Any,
) -> tuple[Any, Report]:
    """A pretrained model whose freshly added tensors follow a config; loaded ones are left alone.

    Fresh are those that the checkpoint lacks, or has in another shape. A fresh tensor that no rule
    means keeps what transformers gave it.

    Args:
        auto: the class with `from_pretrained`.
        name: of the model, or its folder.
        init_cfg: rules, by the names of the model.
        seed: of the random streams.
        strict: a rule that means no fresh tensor is an error.
        arguments: of `from_pretrained`.

    Returns:
        the model, and what happened to its fresh tensors.

    Raises:
        InitError: something in the config cannot be carried out.
    """
    model, found = auto.from_pretrained(name, output_loading_info=True, **arguments)
    fresh = _fresh(model, found)
    plan, tree = plan_config(model, init_cfg, seed=seed)
    lines = {name: line for name, line in plan.lines.items() if name in fresh}
    if strict and not any(line.writes for line in lines.values()):
        raise InitError(
            f"strict mode: no rule means a fresh tensor of {type(model).__name__}; fresh are: "
            f"{', '.join(sorted(fresh)) or 'none'}"
        )
    only = Plan(plan.model, lines, plan.findings, seed=plan.seed)
    announce(only)
    return model, apply_where(only, model, lambda *_: True, tree)


def _fresh(model: nn.Module, found: dict[str, Any]) -> set[str]:
    """The names of the tensors that were not loaded, under the first of their names."""
    names = set(found["missing_keys"]) | {
        entry[0] if isinstance(entry, tuple) else entry for entry in found["mismatched_keys"]
    }
    return {
        slot.name
        for slot in Tree(model).slots
        if all(place.name in names for place in slot.places())
    }


class CheckStart(TrainerCallback):  # type: ignore[misc]  # transformers is not typed here
    """Has a `Trainer` check that its model starts as planned; a resumed one is left alone.

    Args:
        plan: None: the one that the model was built or initialised by.

    Raises:
        InitError: at the start of training, naming each tensor that is not as planned.
    """

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan
        self.checked: int | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any
    ) -> None:
        """Verify, unless training goes on from a checkpoint."""
        del args, control
        if state.global_step == 0 and model is not None:
            self.checked = verify(model, self.plan)
