"""What goes wrong on the way to a remote file, sorted into what passes and what does not."""

from __future__ import annotations

import asyncio
import errno
import http
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

_LATER = frozenset({408, 425, 429})  # and 5xx: HTTP errors that pass
_PASSES = frozenset({errno.EIO, errno.EBUSY, errno.EAGAIN, errno.ENETUNREACH, errno.EHOSTUNREACH})


class RemoteError(Exception):
    """The other side did not give what was asked for.

    Args:
        reason: in a line, without secrets of the URL.
        passes: whether it is worth another try.
        status: of HTTP, or 404 for whatever means `there is no such file`.
        wait: seconds that the server asks to wait for.
    """

    def __init__(self, reason: str, passes: bool, status: int = 0, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.passes, self.status, self.wait = reason, passes, status, wait


def shown(url: str) -> str:
    """A URL without credentials and query, for messages and notes.

    >>> shown("https://me:secret@host/x.pth?token=1")
    'https://host/x.pth'
    """
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


@contextmanager
def as_remote_errors() -> Iterator[None]:
    """Whatever is raised inside, as a `RemoteError`."""
    try:
        yield
    except RemoteError:
        raise
    except Exception as error:  # whatever a protocol's package raises
        # not chained for show: the texts of such errors hold the URL with its secrets
        raise _remote_error(error) from None


def _remote_error(error: Exception) -> RemoteError:
    if isinstance(error, ImportError):
        return RemoteError(f"a package for it is missing: {error}", passes=False)
    code = error.status if hasattr(error, "status") else getattr(error, "code", None)
    if isinstance(code, int) and code:
        later = code >= 500 or code in _LATER
        return RemoteError(_status(error, code), later, code, _asked_wait(error))
    if isinstance(error, FileNotFoundError):
        return RemoteError("", passes=False, status=404)
    return RemoteError(_line(error), passes=_is_passing(error))


def _line(error: Exception) -> str:
    # aiohttp's errors about answers print all about the request
    text = "" if hasattr(error, "request_info") else " ".join(str(error).split())
    text = re.sub(r"\w+://\S+", lambda url: shown(url[0]), text)
    said = isinstance(error, OSError) and text  # in words; others are as terse as KeyError('x')
    return text if said else ": ".join(filter(None, (type(error).__name__, text)))


def _status(error: Exception, code: int) -> str:
    try:
        phrase = http.HTTPStatus(code).phrase
    except ValueError:
        phrase = str(getattr(error, "message", ""))
    return f"the server says {code} {phrase}".rstrip()


def _asked_wait(error: Exception) -> float:
    asked = (getattr(error, "headers", None) or {}).get("Retry-After", "")
    return float(asked) if asked.isdecimal() else 0.0


def _is_passing(error: Exception) -> bool:
    """Whether it comes from the way to the file, not from the file or the URL."""
    if isinstance(error, ssl.CertificateError):
        return False
    if isinstance(error, (ConnectionError, TimeoutError, asyncio.TimeoutError, socket.gaierror)):
        return True
    if isinstance(error, OSError) and error.errno in _PASSES:
        return True
    broken = ("ClientConnectionError", "ClientPayloadError")  # of aiohttp
    return any(base.__name__ in broken for base in type(error).__mro__)
