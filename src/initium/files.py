"""Files: a config to read, a model to write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from initium.errors import InitError, InitFileNotFoundError, InitTypeError, did_you_mean
from initium.reading.positions import numbered_rules, place_of

SUFFIXES = (".yaml", ".yml", ".json", ".toml")


def read_config(path: str | Path) -> Any:
    """The `init_cfg` in a YAML, JSON or TOML file: rules that know their file and line.

    The file is a list of rules, one rule, or a table with `init_cfg` (TOML has no other way for a
    list); a `$schema` in it is left out. What is returned equals plain dicts and lists.

    Args:
        path: a file; one that ends neither in .json nor in .toml is read as YAML.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; there is no such file.
        InitError: with file and line: the file cannot be read, or holds a key twice.
    """
    from initium.reading.nodes import from_json, from_yaml
    from initium.reading.toml import from_toml

    path = Path(path)
    if path.is_dir():
        raise InitError(f"the config {path} is a folder; give a file in it")
    if not path.is_file():
        raise InitFileNotFoundError(f"there is no config file {path}")
    readers = {".json": from_json, ".toml": from_toml}
    name = _shown(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InitError(f"cannot read the config {name}: it is no UTF-8 text: {error}") from error
    found = readers.get(path.suffix.lower(), from_yaml)(text, name)
    if not isinstance(found, (dict, list)):
        raise InitTypeError(
            f"{name}: a config is a list of rules, one rule, or a table with init_cfg, but this "
            f"file holds {found!r}"
        )
    return numbered_rules(unwrapped(found, name))


def unwrapped(cfg: Any, where: str) -> Any:
    """The rules in a table `{"init_cfg": rules}`; anything else as it is.

    Raises:
        InitError: the table has other keys, too.

    >>> unwrapped({"$schema": "init.json", "init_cfg": [], "x-mine": 3}, "a.yaml")
    []
    """
    if not isinstance(cfg, Mapping) or "init_cfg" not in cfg or {"type", "preset"} & set(cfg):
        return cfg
    place, rules = place_of(cfg), cfg["init_cfg"]
    if rules is None or isinstance(rules, (bool, int, float)):
        raise InitTypeError(
            f"{place.at('init_cfg') if place else where}: init_cfg must be a rule or a list of "
            f"rules, but got {rules!r}"
        )
    for key in cfg:
        if key not in ("$schema", "init_cfg") and not str(key).startswith("x-"):
            raise InitError(
                f"{place.at(key) if place else where}: unknown key {key!r} beside 'init_cfg'."
                f"{did_you_mean(str(key), ('$schema', 'init_cfg'))} Allowed: $schema, init_cfg, and "
                "keys that start with x-, for your own anchors and notes"
            )
    return rules


def _shown(path: Path) -> str:
    """A path as people know it: as given, or seen from the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


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
