"""Whole modules that were pickled: their tensors by name, as in a state dict."""

from __future__ import annotations

from typing import Any, cast

from initium.checkpoint.entry import Entry, Unreadable
from initium.checkpoint.formats.rebuilding import UNKNOWN
from initium.checkpoint.formats.values import Opaque
from initium.errors import InitError

_MOST_DEPTH = 100  # modules within modules
_MOST_NAMES = 1 << 26  # characters of all names of a pickled module


def state_dict_of(value: Any) -> dict[str, Entry] | None:
    """The tensors of a whole module that was pickled, by dotted names, as in its state_dict().

    Buffers that are not persistent are left out; None: `value` is no pickled module.

    Raises:
        InitError: its modules lie within themselves, or are nested too deeply.
    """
    if _members(value) is None:
        return None
    found: dict[str, Entry] = {}
    waiting, left = [("", value, 0)], _MOST_NAMES
    while waiting:
        stem, module, depth = waiting.pop()
        tensors, modules = _members(module) or ({}, {})
        left -= sum(1 + len(stem) + len(name) for name in (*tensors, *modules))
        if left < 0 or depth > _MOST_DEPTH:
            raise InitError("its modules are nested too deeply, or lie within themselves")
        found.update((stem + name, _as_entry(tensor)) for name, tensor in tensors.items())
        inner = [(f"{stem}{name}.", child, depth + 1) for name, child in modules.items()]
        waiting += reversed(inner)
    return found


def _members(module: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The parameters and persistent buffers of a pickled module, and its submodules."""
    state = module.state if isinstance(module, Opaque) else None
    if not isinstance(state, dict):
        return None
    kinds = [state.get(kind) for kind in ("_parameters", "_buffers", "_modules")]
    if not all(isinstance(kind, dict) for kind in kinds):
        return None
    parameters, buffers, modules = (_by_name(cast(dict[Any, Any], kind)) for kind in kinds)
    passing = state.get("_non_persistent_buffers_set")
    hidden = passing if isinstance(passing, set) else ()
    kept = {name: buffer for name, buffer in buffers.items() if name not in hidden}
    return {**parameters, **kept}, modules


def _by_name(members: dict[Any, Any]) -> dict[str, Any]:
    """A parameter may be registered as None."""
    return {name: it for name, it in members.items() if isinstance(name, str) and it is not None}


def _as_entry(tensor: Any) -> Entry:
    if isinstance(tensor, Entry):
        return tensor
    kind = tensor.name[:80] if isinstance(tensor, Opaque) else type(tensor).__name__
    return Unreadable((), UNKNOWN, "a tensor", f"it is a {kind}")
