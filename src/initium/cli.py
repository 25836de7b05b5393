"""The command line: plan, init, inspect, convert, demo."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Says how a PyTorch model starts, does exactly that once, and shows what it did.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Target = Annotated[
    str, typer.Argument(help="What makes the model: package.module:callable or file.py:callable.")
]
Config = Annotated[Path, typer.Argument(help="The init_cfg, a YAML or JSON file.")]
SeedOption = Annotated[
    int | None, typer.Option(help="Of the random streams; drawn where not given.")
]
RngOption = Annotated[
    str, typer.Option(help="philox: a stream for each tensor; torch: torch's own functions.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Rules without effect are errors.")]


@app.command("plan")
def plan_command(
    target: Target,
    config: Config,
    seed: SeedOption = None,
    rng: RngOption = "philox",
    strict: Strict = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write it as JSON.")] = None,
) -> None:
    """Show what a config does to every tensor of a model; nothing is written to the model.

    Example: initium plan torchvision.models:resnet50 resnet.yaml
    """
    import initium
    from initium.files import build_target, read_config

    with _errors():
        model = build_target(target)
        made = initium.plan(model, read_config(config), seed=seed, rng=rng, strict=strict)
        if out is not None:
            made.save(out)
    typer.echo(made)


@app.command("init")
def init_command(
    target: Target,
    config: Config,
    out: Annotated[Path, typer.Option("-o", "--out", help="The .safetensors file to write.")],
    seed: SeedOption = None,
    rng: RngOption = "philox",
    strict: Strict = False,
) -> None:
    """Initialise a model by a config and write its weights.

    Example: initium init model.py:build vit.yaml -o start.safetensors --seed 0
    """
    import initium
    from initium.files import build_target, read_config, save_model

    with _errors():
        model = build_target(target)
        report = initium.initialize(model, read_config(config), seed=seed, rng=rng, strict=strict)
        save_model(model, out)
    typer.echo(report)
    typer.echo(f"wrote {out}")


Checkpoint = Annotated[str, typer.Argument(help="A file, folder or URL.")]
KeyOption = Annotated[
    str | None, typer.Option(help="Where in the file the state dict is: ema, model.")
]


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

    with _errors():
        found = inspect_checkpoint(checkpoint, key=key)
        typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else found)


@app.command("convert")
def convert_command(
    checkpoint: Checkpoint,
    out: Annotated[
        Path,
        typer.Argument(help="A .safetensors, .pth, .pt, .bin or .ckpt file; no ending: a folder."),
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

    with _errors():
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


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(help="Where to write to.")] = Path("out"),
) -> None:
    """Initialise a Vision Transformer from a config, and load real MiniLM weights under a new head."""
    from initium.demo import demo

    with _errors():
        demo(out)


class _errors:  # noqa: N801 (a context manager, read as a word)
    """Mistakes of the user in one line, with exit code 2; warnings in one line, too."""

    def __enter__(self) -> None:
        warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        from initium.errors import InitError

        warnings.showwarning = _SHOW
        if isinstance(error, InitError):
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from error


_SHOW = warnings.showwarning
