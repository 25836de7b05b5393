"""The arguments that a class or function takes, and errors for those that it does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from initium.errors import InitTypeError, did_you_mean


def check_arguments(target: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raise an `InitTypeError` for an argument that `target` does not take, or lacks."""
    known, required, open_ended = known_arguments(target)
    for argument in arguments:
        if argument not in known and not open_ended:
            raise unknown_argument(target, argument)
    missing = [argument for argument in required if argument not in arguments]
    if missing:
        raise InitTypeError(
            f"{_name(target)} needs the argument {missing[0]!r}; it takes: {', '.join(known)}"
        )


def unknown_argument(target: Callable[..., Any], argument: str) -> InitTypeError:
    """The error for an argument that `target` does not take; it lists the ones it does."""
    known = known_arguments(target)[0]
    return InitTypeError(
        f"{_name(target)} got an unknown argument {argument!r}.{did_you_mean(argument, known)} "
        f"It takes: {', '.join(known)}"
    )


@lru_cache(maxsize=512)  # a network may have a rule for each of its blocks
def known_arguments(target: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """The arguments of a class or function: all, the required ones, and whether any other goes.

    A class whose `__init__` passes `**kwargs` on also takes what the next class in its method
    resolution order takes; what that one requires may have been given on the way.
    """
    known: dict[str, None] = {}
    required: list[str] = []
    for depth, parameters in enumerate(_signatures(target)):
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        known.update(dict.fromkeys(p.name for p in named))
        required += [p.name for p in named if p.default is p.empty and depth == 0]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return tuple(known), tuple(required), False
    return tuple(known), tuple(required), True


def _signatures(target: Callable[..., Any]) -> Iterator[list[inspect.Parameter]]:
    if not inspect.isclass(target):
        yield list(inspect.signature(target).parameters.values())
        return
    for layer in inspect.getmro(target)[:-1]:
        if "__init__" in vars(layer):
            yield list(inspect.signature(vars(layer)["__init__"]).parameters.values())[1:]


def _name(target: Callable[..., Any]) -> str:
    return getattr(target, "__name__", repr(target))
