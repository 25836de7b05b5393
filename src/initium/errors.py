"""Errors: one class for people, a few subclasses for programs that must tell them apart.

Inner code raises the short fact; whoever knows the place adds it with `located`. MMEngine documents
built-in exception types for the same mistakes, so each subclass is one of those, too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InitError(ValueError):
    """A declaration, plan or checkpoint that cannot be carried out; nothing was written.

    >>> import initium
    >>> initium.KaimingInit(mode="fan_inn")
    Traceback (most recent call last):
    initium.errors.InitAssertionError: mode must be 'fan_in' or 'fan_out', but got 'fan_inn'
    """

    def __str__(self) -> str:
        # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class InitTypeError(InitError, TypeError):
    """An argument of the wrong type, or an argument that does not exist."""


class InitKeyError(InitError, KeyError):
    """A name that is not registered."""


class InitNameError(InitError, RuntimeError):
    """A module or tensor name that the model does not have."""


class InitRangeError(InitError, RuntimeError):
    """A number outside of its range, or a tensor that cannot hold what is drawn (as in torch)."""


class InitAssertionError(InitError, AssertionError):
    """An option outside the allowed ones (mmcv asserted these)."""


class InitFileNotFoundError(InitError, FileNotFoundError):
    """A checkpoint or plan file that does not exist."""


class InitWarning(UserWarning):
    """Something a declaration says that has no effect, or a tensor that nobody set.

    `strict=True` turns these into an `InitError` before the first write;
    `warnings.filterwarnings("error", category=initium.InitWarning)` raises where they are shown.
    """


class located:  # noqa: N801 (a context manager, read as a word)
    """Add the place (a rule, a tensor, a file) in front of an `InitError` raised inside.

    A class, since a generator takes three times as long, and every tensor passes through several.
    For many tensors one after the other, each is set as the `place` when its turn comes.
    """

    __slots__ = ("place",)

    def __init__(self, place: str = "") -> None:
        self.place = place

    def __enter__(self) -> located:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, InitError):
            error.args = (f"{self.place}: {error}",)


def did_you_mean(received: str, allowed: Iterable[str]) -> str:
    """A question naming the nearest allowed words, or nothing when none is near.

    >>> did_you_mean("Conv2D", ["Conv2d", "Linear"])
    " Did you mean 'Conv2d'?"
    """
    near = difflib.get_close_matches(received, list(dict.fromkeys(allowed)), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def near_or_some(received: str, allowed: Iterable[str]) -> str:
    """As `did_you_mean`; where none is near, some of what there is.

    >>> near_or_some("qqq", ["weight", "bias"])
    ' There are: weight, bias'
    """
    names = list(dict.fromkeys(allowed))
    return did_you_mean(received, names) or (f" There are: {listing(names)}" if names else "")


def listing(names: Iterable[str], most: int = 12) -> str:
    """Names in one line, the rest counted: an error must not scroll the traceback away."""
    everything = list(names)
    shown = ", ".join(everything[:most])
    return shown + (f", … ({len(everything) - most} more)" if len(everything) > most else "")
