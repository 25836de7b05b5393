"""The log `initium`: a report line by line, warnings, rank 0 only."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch.distributed as dist

from initium.errors import InitWarning
from initium.report.report import Report

logger = logging.getLogger("initium")
_PACKAGE = str(Path(__file__).parents[1])


class _Stdout(logging.StreamHandler):  # type: ignore[type-arg]  # generic in stubs, not at run time
    """Prints to what `sys.stdout` is at that time, where nobody has configured logging."""

    @property
    def stream(self) -> object:
        return sys.stdout

    @stream.setter
    def stream(self, _: object) -> None:
        """The stream is always the current one."""


def _ready() -> bool:
    """Whether this process logs; makes sure that what it logs is seen."""
    if dist.is_available() and dist.is_initialized() and dist.get_rank() != 0:
        return False
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        handler = _Stdout()
        form = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
        handler.setFormatter(logging.Formatter(form, datefmt="%m/%d %H:%M:%S"))
        logger.addHandler(handler)
    return True


def say(message: str) -> None:
    """One line at level INFO."""
    if _ready():
        logger.info(message)


def warn(messages: Iterable[str]) -> None:
    """Show each message as an `InitWarning` at the line of the user's code that led here."""
    if _ready():
        for message in messages:
            warnings.warn(message, InitWarning, stacklevel=_outside())


def _outside() -> int:
    """How many frames up, seen from the caller of this, the code outside of the package is."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


def details(report: Report) -> None:
    """What happened to every tensor: into the log's files where it has any, else into the log."""
    if not _ready() or not logger.isEnabledFor(logging.INFO):
        return
    files = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
    for text in [*map(str, report.entries), *report.findings]:
        if not files:
            logger.info("\n%s\n", text)
        for file in files:
            file.handle(logger.makeRecord(
                logger.name, logging.INFO, __file__, 0, f"\n{text}\n", (), None
            ))  # fmt: skip
