"""Plans: shown, explained, compared."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from initium_cli.app import PlanFile, RngOption, SeedOption, Strict, Target, TensorNames, app
from initium_cli.working import check_file, working


@app.command("plan")
def plan_command(
    target: Target,
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="The init_cfg, a file; none: the constructor alone."),
    ] = None,
    seed: SeedOption = None,
    rng: RngOption = "philox",
    strict: Strict = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write it as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what a constructor, and a config on top, do to every tensor of a model, without memory.

    Example: initium plan torchvision.models:resnet50 resnet.yaml
    """
    import json

    import initium
    from initium.errors import InitWarning
    from initium.files import read_config
    from initium.planning.file import to_dict
    from initium.targets import model_factory

    with working():
        if out is not None:
            check_file(out)
        make, rules = model_factory(target), None if config is None else read_config(config)
        if rng == "philox":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InitWarning)  # they stand below the table
                model = initium.build(make, init_cfg=rules, seed=seed, strict=strict, device="meta")
            made = initium.plan_of(model)
        else:
            made = initium.plan(make(), rules, seed=seed, rng=rng, strict=strict)
        if out is not None:
            made.save(out)
    typer.echo(json.dumps(to_dict(vars(made)), indent=1) if as_json else made)


@app.command("explain")
def explain_command(
    plan: PlanFile,
    names: TensorNames,
) -> None:
    """Say of tensors every write that a plan has for them, which one wins, and why.

    Example: initium explain plan.json blocks.0.attn.qkv.weight
    """
    from initium.planning import Plan

    with working():
        made = Plan.load(plan)
        texts = [made.explain(name) for name in names]
    typer.echo("\n\n".join(texts))


@app.command("diff")
def diff_command(plan: PlanFile, other: PlanFile) -> None:
    """Show what differs between two plans, a line a tensor.

    The exit code is 0 where nothing differs, 1 where something does, 2 where one cannot be read.

    Example: initium diff before.json after.json
    """
    from initium.planning import Plan

    with working():
        text = Plan.load(plan).diff(Plan.load(other))
    if text:
        typer.echo(text)
        raise typer.Exit(1)
