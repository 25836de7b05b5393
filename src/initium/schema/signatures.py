"""What signatures and docstrings say of the arguments of a class or function."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any


def parameters(target: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """(type, default) of each argument, as the nearest class that names it has them."""
    functions = [target]
    if inspect.isclass(target):
        functions = [vars(c)["__init__"] for c in inspect.getmro(target) if "__init__" in vars(c)]
    found: dict[str, tuple[Any, Any]] = {}
    for function in functions:
        hints = _hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            found.setdefault(name, (hints.get(name, Any), parameter.default))
    return found


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}  # names that exist for type checkers only


_SECTION = re.compile(r"^(Args|Arguments|Parameters):\s*$", re.M)
_ENTRY = re.compile(r"^    (\w+)(?: \([^)]*\))?:\s?(.*)$")


def argument_docs(target: Callable[..., Any]) -> dict[str, str]:
    """The sentence on every argument in the docstrings of a class, its bases nearest first.

    >>> from initium import WEIGHT_INITIALIZERS
    >>> argument_docs(WEIGHT_INITIALIZERS.get("Xavier"))["gain"]
    'a factor on the standard deviation.'
    """
    layers = inspect.getmro(target) if inspect.isclass(target) else (target,)
    found: dict[str, str] = {}
    for layer in layers[:-1] if inspect.isclass(target) else layers:
        for name, text in _args_section(vars(layer).get("__doc__") or layer.__doc__).items():
            found.setdefault(name, text)
    return found


def _args_section(doc: str | None) -> dict[str, str]:
    parts = _SECTION.split(inspect.cleandoc(doc or ""), maxsplit=1)
    found: dict[str, list[str]] = {}
    name = ""
    for line in parts[-1].splitlines() if len(parts) > 1 else ():
        if entry := _ENTRY.match(line):
            name = entry[1]
            found[name] = [entry[2]]
        elif line.startswith("     ") and name:
            found[name].append(line.strip())
        elif line.strip():
            break  # the next section
    return {name: " ".join(lines).strip() for name, lines in found.items()}


def summary(target: Callable[..., Any]) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(inspect.cleandoc(target.__doc__ or "").split("\n\n")[0].split())
