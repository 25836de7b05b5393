"""What the command line is given to make a model: a target, and modules that register."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from initium.errors import InitError, InitFileNotFoundError, InitTypeError, did_you_mean


def find_target(target: str) -> Callable[..., Any]:
    """The callable that `package.module:callable` or `file.py:callable` means.

    Raises:
        InitError: there is no such module or callable.

    >>> find_target("torch.nn:Identity").__name__
    'Identity'
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise InitError(
            f"TARGET must be package.module:callable or file.py:callable, but got {target!r}"
        )
    module = _from_file(Path(place)) if place.endswith(".py") else _import(place)
    factory: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(factory):
        raise InitError(f"{place} has no callable {name!r}.{did_you_mean(name, dir(module))}")
    if isinstance(factory, nn.Module):
        raise InitTypeError(
            f"{target} is a module, made when {place} was imported; give a function that makes it"
        )
    _check_takes_nothing(factory, target)
    return factory


def _check_takes_nothing(factory: Callable[..., Any], target: str) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not say
        return
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]
    if needed:
        raise InitTypeError(
            f"TARGET is called without arguments, but {target} needs {', '.join(needed)}; "
            "write a function that passes them, and give that"
        )


def model_factory(target: str) -> Callable[[], nn.Module]:
    """What makes the model of a target: its callable, which must return an `nn.Module`.

    The module that holds it is imported here, not when the model is made, which may be recorded.

    Raises:
        InitError: as in `find_target`; what is returned raises one where no model is made.
    """
    factory = find_target(target)

    def make() -> nn.Module:
        model = factory()
        if not isinstance(model, nn.Module):
            raise InitTypeError(
                f"{target} must make a torch.nn.Module, but made a {type(model).__name__}"
            )
        return model

    return make


def build_target(target: str) -> nn.Module:
    """The model that a target makes, called without arguments.

    Raises:
        InitError: as in `model_factory`.

    >>> build_target("torch.nn:Identity")
    Identity()
    """
    return model_factory(target)()


def import_modules(names: Iterable[str]) -> None:
    """Import modules, or `.py` files, for what they register.

    Raises:
        InitError: there is no such module.
    """
    for name in names:
        _from_file(Path(name)) if name.endswith(".py") else _import(name)


def _import(name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    with _importing(name):
        try:
            return importlib.import_module(name)
        finally:
            sys.path.pop(0)


@contextmanager
def _importing(name: str) -> Iterator[None]:
    try:
        yield
    except SyntaxError as error:
        place = f"{error.filename}, line {error.lineno}"
        raise InitError(f"cannot import {name}: {place}: {error.msg}") from error
    except ModuleNotFoundError as error:
        raise InitError(f"cannot import {name}: {error}") from error


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise InitFileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickles look their module up there
    with _importing(str(path)):
        spec.loader.exec_module(module)
    return module
