"""Checkpoints: looked into, compared with plans, converted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from initium_cli.app import Checkpoint, KeyOption, PlanFile, app
from initium_cli.working import working


@app.command("inspect")
def inspect_command(
    checkpoint: Checkpoint,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, a tensor an entry.")] = False,
) -> None:
    """Show the tensors of a checkpoint, with shapes, dtypes and sizes; nothing is loaded.

    Example: initium inspect hf://google/vit-base-patch16-224/model.safetensors
    """
    import json

    from initium.checkpoint import inspect_checkpoint

    with working():
        found = inspect_checkpoint(checkpoint, key=key)
        text = json.dumps(found.to_dict(), indent=1) if as_json else str(found)
    typer.echo(text)


@app.command("verify")
def verify_command(
    plan: PlanFile,
    checkpoint: Checkpoint,
    everything: Annotated[bool, typer.Option("--all", help="Draw every tensor again.")] = False,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="How many tensors are drawn again; else 20, or 5 %."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the plan's.")] = None,
    key: KeyOption = None,
    prefix: Annotated[str | None, typer.Option(help="Only keys that start so, without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All that was found, as JSON.")] = False,
) -> None:
    """Say whether a checkpoint is the start that a plan describes: draw tensors again, and compare.

    The exit code is 0 where all that was compared is the same, 1 where something differs, 2 where
    it cannot be compared.

    Example: initium verify plan.json start.safetensors --all
    """
    import json

    from initium.checking import check_checkpoint
    from initium.errors import InitError
    from initium.planning import Plan

    with working():
        if sample is not None and everything:
            raise InitError("sample must be left out with --all, which draws every tensor again")
        found = check_checkpoint(
            Plan.load(plan),
            checkpoint,
            sample=sample,
            everything=everything,
            seed=seed,
            key=key,
            prefix=prefix,
        )
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else found)
    raise typer.Exit(0 if found.same else 1)


@app.command("convert")
def convert_command(
    checkpoint: Checkpoint,
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="A .safetensors, .pth, .pt, .bin or .ckpt file; no ending: a folder.",
        ),
    ],
    key: KeyOption = None,
    prefix: Annotated[str | None, typer.Option(help="Only keys that start so, without it.")] = None,
    rename: Annotated[
        list[str] | None, typer.Option(help="PATTERN=REPLACEMENT, in order; may be repeated.")
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Run the code that the file names.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write the tensors of a checkpoint in another format.

    Example: initium convert epoch_12.pth backbone.safetensors --prefix backbone
    """
    from initium.checkpoint import convert_checkpoint

    with working():
        names = convert_checkpoint(
            checkpoint,
            out,
            key=key,
            prefix=prefix,
            rename=[pair.split("=", 1) for pair in rename or []],
            trust_pickle=trust_pickle,
            force=force,
        )
    typer.echo(f"wrote {len(names)} tensors to {out}")
