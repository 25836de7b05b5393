"""The application, and what its commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from initium_cli.completing import preset_names, rngs, tensor_names

app = typer.Typer(
    help="Says how a PyTorch model starts, does exactly that once, and shows what it did.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="What makes the model: package.module:callable or file.py:callable.",
    ),
]
Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The init_cfg, a YAML, JSON or TOML file.")
]
SeedOption = Annotated[
    int | None, typer.Option(help="Of the random streams; drawn where not given.")
]
RngOption = Annotated[
    str,
    typer.Option(
        help="philox: a stream for each tensor; torch: torch's own functions.", autocompletion=rngs
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Rules without effect are errors.")]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A plan that was saved as JSON.")]
TensorNames = Annotated[
    list[str],
    typer.Argument(metavar="NAME", help="Of tensors.", autocompletion=tensor_names),
]
Checkpoint = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A file, folder or URL.")]
KeyOption = Annotated[
    str | None, typer.Option(help="Where in the file the state dict is: ema, model.")
]
PresetName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="One of them: its rules as YAML, to be pasted.",
        autocompletion=preset_names,
    ),
]
Import = Annotated[
    list[str] | None,
    typer.Option("--import", help="A module that registers your own; may be repeated."),
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"initium {version('initium')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Says how a PyTorch model starts, does exactly that once, and shows what it did."""
