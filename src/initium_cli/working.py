"""How a command works and fails: what goes to which stream, and which exit code it ends with."""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import traceback
import warnings
from pathlib import Path
from types import TracebackType

import typer

MISTAKE, FAILURE, STOPPED = 2, 3, 130
_OURS = ("initium_cli", "initium", "typer", "torch", "numpy", "safetensors", "fsspec")
_STDLIB = sysconfig.get_path("stdlib")


class working(contextlib.ExitStack):  # noqa: N801 (a context manager, read as a word)
    """Keep standard output for the result; end in one line, and with an exit code.

    What runs within prints to standard error, code of the user's that makes a model included.
    A mistake of the user is one line and exit code 2. Anything else is a traceback that begins in
    the user's own code where that is what failed, and exit code 3.

    Args:
        prints: what runs within is meant to print.
    """

    def __init__(self, prints: bool = False) -> None:
        super().__init__()
        self.prints = prints

    def __enter__(self) -> working:
        super().__enter__()
        shown = warnings.showwarning
        warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)
        self.callback(setattr, warnings, "showwarning", shown)
        if not self.prints:
            self.enter_context(contextlib.redirect_stdout(sys.stderr))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        super().__exit__(None, None, None)
        if isinstance(error, KeyboardInterrupt):
            typer.echo("stopped", err=True)
            raise typer.Exit(STOPPED) from error
        if not isinstance(error, Exception) or isinstance(error, (typer.Exit, BrokenPipeError)):
            return None
        mistake = _mistake(error)
        typer.echo(_failure(error) if mistake is None else f"error: {mistake}", err=True)
        raise typer.Exit(FAILURE if mistake is None else MISTAKE) from error


def _mistake(error: Exception) -> str | None:
    """What a user can mend, in a line; None for what is no such thing."""
    from safetensors import SafetensorError

    from initium.errors import InitError, InitWarning

    if isinstance(error, (InitError, InitWarning)):  # where warnings are errors
        return str(error)
    if _begins_outside(error) is None:
        if isinstance(error, FileExistsError):  # of a folder that is to be made
            return f"{error.filename} is there already, and is no folder"
        if isinstance(error, OSError) and error.strerror:
            named = error.filename2 or error.filename
            return f"{error.strerror}: {named}" if named else error.strerror
        if isinstance(error, SafetensorError):  # a full disk, a folder that takes no files
            return str(error)
    return None


def _failure(error: Exception) -> str:
    """The traceback of what failed, from the user's own code on."""
    first = _begins_outside(error)
    told = traceback.TracebackException.from_exception(error)
    told.stack = traceback.StackSummary.from_list(told.stack[first or 0 :])
    text = "".join(told.format()).rstrip()
    return text if first is not None else f"{text}\nan error of Initium's own: please report it"


def _begins_outside(error: Exception) -> int | None:
    """The number of the first frame in code that is neither ours nor a library's that we use."""
    files = [getattr(sys.modules.get(name), "__file__", None) for name in _OURS]
    ours = ("<frozen", *(str(Path(file).parent) for file in files if file))
    for number, frame in enumerate(traceback.extract_tb(error.__traceback__)):
        name = frame.filename
        if not name.startswith(ours) and (not name.startswith(_STDLIB) or "-packages" in name):
            return number
    return None


def write_file(out: Path, text: str) -> None:
    """Write a text: the whole file, or none."""
    check_file(out)
    part = out.with_name(f"{out.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def check_file(out: Path) -> None:
    """Make the folder that a file is to be in; refuse a name that is a folder's."""
    from initium.errors import InitError

    if out.is_dir():
        raise InitError(f"{out} is a folder; give the name of a file in it")
    out.parent.mkdir(parents=True, exist_ok=True)
