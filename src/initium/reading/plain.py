"""Configs of other libraries -> dicts and lists: dataclasses, OmegaConf nodes, files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from initium.errors import InitError, located
from initium.files import SUFFIXES, read_config, unwrapped
from initium.reading.positions import PlacedDict, PlacedList


class DataclassConfig(Protocol):
    """An object of a dataclass whose fields are the arguments, `type` among them."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def opened(init_cfg: Any, where: str) -> Any:
    """What was given as an `init_cfg`, as data: a file is read, a node resolved.

    Raises:
        InitError: the file, or an OmegaConf node, cannot be read.
    """
    if _is_file(init_cfg):
        return read_config(init_cfg)
    with located(where):
        return unwrapped(as_config(init_cfg), where)


def _is_file(init_cfg: Any) -> bool:
    if isinstance(init_cfg, str):
        return Path(init_cfg).suffix.lower() in SUFFIXES
    return isinstance(init_cfg, os.PathLike)


def as_config(value: Any) -> Any:
    """A dataclass or an OmegaConf node as a dict or list; anything else as it is.

    An object that can be called is an initializer, dataclass or not.

    >>> @dataclasses.dataclass
    ... class Rule:
    ...     type: str
    ...     std: float = 0.02
    >>> as_config(Rule("Normal"))
    {'type': 'Normal', 'std': 0.02}
    """
    if _is_node(value):
        return _resolved(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not callable(value):
        # one dataclass may serve rules and presets: what it leaves out is None
        named = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {k: v for k, v in named.items() if v is not None or k not in ("type", "preset")}
    return value


def plain_values(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as a dict whose values are plain, overrides and lists within included."""
    override = cfg.get("override")
    values = {key: _plain(value) for key, value in cfg.items() if key != "override"}
    return values if override is None else {**values, "override": _plain_override(override)}


def _plain_override(override: Any) -> Any:
    found = as_config(override)
    if isinstance(found, (list, tuple)):
        return [_plain_override(each) for each in found]
    if not isinstance(found, Mapping) or isinstance(found, PlacedDict):
        return found
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    """An argument: objects of dataclasses may be meant as such, unless they have a `type`."""
    if isinstance(value, (list, tuple)) and not isinstance(value, PlacedList):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value
    if not _is_node(value) and not hasattr(value, "type"):
        return value
    found = as_config(value)
    return plain_values(found) if isinstance(found, dict) and found is not value else found


def _is_node(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "omegaconf"


def _resolved(node: Any) -> Any:
    from omegaconf import OmegaConf, SCMode
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_container(
            node, resolve=True, throw_on_missing=True, structured_config_mode=SCMode.DICT
        )
    except OmegaConfBaseException as error:
        place = f"{error.full_key}: " if error.full_key else ""
        reason = str(error.msg or error).splitlines()[0]
        raise InitError(f"this OmegaConf node cannot be resolved: {place}{reason}") from error
