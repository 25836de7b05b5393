"""The log `initium`: a report line by line, warnings, rank 0 only."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable

import torch.distributed as dist

from initium.errors import InitWarning
from initium.report.report import Report

logger = logging.getLogger("initium")


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


def warn(messages: Iterable[str], stacklevel: int = 3) -> None:
    """Show each message as an `InitWarning`."""
    if _ready():
        for message in messages:
            warnings.warn(message, InitWarning, stacklevel=stacklevel + 1)


def details(report: Report) -> None:
    """What happened to every tensor: into the log's files where it has any, else into the log."""
    if not _ready():
        return
    files = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
    for text in [*map(str, report.entries), *report.findings]:
        if not files:
            logger.info("\n%s\n", text)
        for file in files:
            file.handle(logger.makeRecord(
                logger.name, logging.INFO, __file__, 0, f"\n{text}\n", (), None
            ))  # fmt: skip
