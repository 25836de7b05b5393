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
    if _ready() and logger.isEnabledFor(logging.INFO):
        logger.info(message)
        _write(_files_of_mmengine(), message)


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
    """What happened to every tensor: into the log's files where it has any, else into the log.

    The files are those of the log `initium`, and of MMEngine's, whose runner has one for each run.
    """
    if not _ready() or not logger.isEnabledFor(logging.INFO):
        return
    files = [*_files(logger.handlers), *_files_of_mmengine()]
    for text in [*map(str, report.entries), *report.findings]:
        if not files:
            logger.info("\n%s\n", text)
        _write(files, f"\n{text}\n")


def _files(handlers: Iterable[logging.Handler]) -> list[logging.FileHandler]:
    found = [handler for handler in handlers if isinstance(handler, logging.FileHandler)]
    return [file for file in found if file.level <= logging.INFO]


def _files_of_mmengine() -> list[logging.FileHandler]:
    """Those of its current logger, where MMEngine is in use."""
    module = sys.modules.get("mmengine.logging.logger")
    if module is None or not module.MMLogger._instance_dict:
        return []  # to ask for a current one would make one
    return _files(module.MMLogger.get_current_instance().handlers)


def _write(files: Iterable[logging.FileHandler], text: str) -> None:
    for file in files:
        file.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, (), None))
