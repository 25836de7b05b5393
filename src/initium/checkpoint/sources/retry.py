"""All bytes of a URL into a part, whatever the network does on the way."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from initium.checkpoint.sources.failures import RemoteError, shown
from initium.checkpoint.sources.part import Part
from initium.checkpoint.sources.remote import Answer, Opener, connected
from initium.errors import InitError, InitFileNotFoundError

_PAGE = (b"<!doctype html", b"<html")
ATTEMPTS = 5  # tries in a row without a byte of progress
DELAY = 0.5  # seconds before the second try; doubled for each one after it
LONGEST = 60.0  # seconds
_chance = random.SystemRandom()  # the state of Python's generator is the user's


def download(url: str, part: Part) -> None:
    """Bring all bytes of a URL into `part`, from where it stands if the file is still the same.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; there is no such file.
        InitError: it cannot be had: refused, a web page, too large for the disk, or a network that
            failed `ATTEMPTS` times in a row. Only then the part stays, to be gone on with.
    """
    failures, best = 0, part.done
    with _refusals(url, part), connected(url) as opener:
        while True:
            try:
                return _attempt(url, opener, part)
            except RemoteError as error:
                failures = 1 if part.done > best else failures + 1
                best = max(best, part.done)
                if not error.passes or failures >= ATTEMPTS:
                    raise
                time.sleep(_delay(failures, error.wait))


def _delay(failures: int, asked: float) -> float:
    jitter: float = _chance.uniform(0.8, 1.2)  # so that a cluster does not come back all at once
    backoff = DELAY * 2.0 ** (failures - 1) * jitter
    return float(min(LONGEST, max(asked, backoff)))


@contextmanager
def _refusals(url: str, part: Part) -> Iterator[None]:
    """A `RemoteError` as what the user is told."""
    try:
        yield
    except RemoteError as error:
        if error.status in (404, 410):
            part.discard()
            reason = f": {error.reason}" if error.reason else ""
            text = f"there is no checkpoint file {shown(url)}{reason}"
            raise InitFileNotFoundError(text) from None
        raise InitError(f"cannot download {shown(url)}: {_advice(error, part)}") from None


def _advice(error: RemoteError, part: Part) -> str:
    if error.status in (401, 403):
        return f"{error.reason}; it may need a login, or a newer link"
    if not error.passes:
        return error.reason
    if part.mark is None or not part.done:
        part.discard()  # nobody could go on from here
        return f"{error.reason} ({ATTEMPTS} tries). Try again later"
    there = f"{part.done} of {part.size} bytes are here"
    return f"{error.reason} ({ATTEMPTS} tries). Try again later: {there}, and it goes on from there"


def _attempt(url: str, opener: Opener, part: Part) -> None:
    from initium.report.progress import progress

    with closing(_open(opener, part)) as answer:
        _refuse_page(url, answer)
        _check_room(url, answer, part)
        if not answer.start:
            part.restart(answer.size, answer.mark)
        with progress(f"download {shown(url).rsplit('/', 1)[-1]}", answer.size or 0) as advance:
            advance(part.done)
            while block := answer.read():
                part.append(block)
                advance(len(block))
    if answer.size is not None and part.done != answer.size:
        reason = f"the connection ended after {part.done} of {answer.size} bytes"
        raise RemoteError(reason, passes=True)


def _open(opener: Opener, part: Part) -> Answer:
    """At the end of the part, if the other side can do so and still has the same file."""
    offset = part.done if part.mark is not None else 0
    try:
        answer = opener(offset)
    except RemoteError as error:
        if error.status != 416:  # the file is shorter now
            raise
        return opener(0)
    same = answer.start == offset and (answer.size, answer.mark) == (part.size, part.mark)
    if same or not answer.start:
        return answer
    answer.close()
    return opener(0)


def _refuse_page(url: str, answer: Answer) -> None:
    if answer.mimetype == "text/html":
        raise page_error(url)


def is_page(start: bytes) -> bool:
    """Whether a file that starts so is a web page (HTML).

    >>> is_page(b"  <!DOCTYPE html><html>"), is_page(b"PK")
    (True, False)
    """
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGE)


def page_error(url: str) -> InitError:
    """The error for a web page in place of a checkpoint."""
    return InitError(
        f"{shown(url)} is a web page (HTML), no checkpoint: perhaps a login page, or a page about "
        "the file; take the link of the download itself"
    )


def _check_room(url: str, answer: Answer, part: Part) -> None:
    folder = part.path.parent
    needed, free = (answer.size or 0) - answer.start, shutil.disk_usage(folder).free
    if needed > free:
        raise InitError(
            f"cannot download {shown(url)}: {needed:,} bytes are to come, but only {free:,} are "
            f"free in {folder}; make room, or set INITIUM_CACHE to a folder on another disk"
        )
