"""The application, what its commands take, and how they fail."""

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
PlanFile = Annotated[Path, typer.Argument(help="A plan that was saved as JSON.")]
Checkpoint = Annotated[str, typer.Argument(help="A file, folder or URL.")]
KeyOption = Annotated[
    str | None, typer.Option(help="Where in the file the state dict is: ema, model.")
]
Import = Annotated[
    list[str] | None,
    typer.Option("--import", help="A module that registers your own; may be repeated."),
]


class errors:  # noqa: N801 (a context manager, read as a word)
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
