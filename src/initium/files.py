"""What the command line is given: a model to build, a config to read, a file to write."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from initium.errors import InitError, InitFileNotFoundError, InitTypeError, did_you_mean


def read_config(path: str | Path) -> Any:
    """The `init_cfg` in a YAML or JSON file.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; there is no such file.
        InitError: the file is not YAML, or not JSON.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise InitFileNotFoundError(f"there is no config file {path}")
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InitError(f"cannot read the config {path}: {error}") from error


def build_target(target: str) -> nn.Module:
    """The model that `package.module:callable` or `file.py:callable` makes, called without arguments.

    Raises:
        InitError: there is no such module, callable, or what it makes is no `nn.Module`.

    >>> build_target("torch.nn:Identity")
    Identity()
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise InitError(
            f"TARGET must be package.module:callable or file.py:callable, but got {target!r}"
        )
    module = _from_file(Path(place)) if place.endswith(".py") else _import(place)
    factory: Callable[[], Any] | None = getattr(module, name, None)
    if not callable(factory):
        raise InitError(f"{place} has no callable {name!r}.{did_you_mean(name, dir(module))}")
    model = factory()
    if not isinstance(model, nn.Module):
        raise InitTypeError(
            f"{target} must make a torch.nn.Module, but made a {type(model).__name__}"
        )
    return model


def _import(name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InitError(f"cannot import {name}: {error}") from error
    finally:
        sys.path.pop(0)


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise InitFileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickles look their module up there
    spec.loader.exec_module(module)
    return module


def save_model(model: nn.Module, path: str | Path) -> None:
    """Write the state dict as safetensors: the whole file, or none.

    Tied tensors are written once.
    """
    from safetensors.torch import save_model as write

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        write(model, str(part))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
