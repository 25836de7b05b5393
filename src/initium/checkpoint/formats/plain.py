"""Plain data that a pickle has made by a call: lists, dicts, bytes. Only from harmless arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from initium.checkpoint.formats.values import Global, Opaque, key_of

_BYTES = {"_codecs.encode": bytes, "builtins.bytes": bytes, "builtins.bytearray": bytearray}
_CONTAINERS: dict[str, Any] = {
    "collections.OrderedDict": dict,
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.tuple": tuple,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "torch.Size": tuple,
}


def made_of(name: str, args: tuple[Any, ...], spend: Callable[[int], None]) -> Any:
    """What the protocols make plain data with; NotImplemented for anything else.

    Args:
        name: of the class or function that makes them.
        args: it is called with.
        spend: is told how many parts are copied, and raises when they are too many.
    """
    name = name.replace("__builtin__.", "builtins.").replace("copy_reg.", "copyreg.")
    if name == "copyreg._reconstructor" and args and isinstance(args[0], Global):
        return Opaque(args[0].name, args)
    if name == "builtins.complex" and [type(part) for part in args] == [float, float]:
        return complex(*args)
    if name == "collections.defaultdict":
        return _container(dict, args[1:], spend)
    kind = _BYTES.get(name) or _CONTAINERS.get(name)
    if kind is None:
        return NotImplemented
    return (_binary if name in _BYTES else _container)(kind, args, spend)


def _container(kind: Any, args: tuple[Any, ...], spend: Callable[[int], None]) -> Any:
    given = args[0] if args else ()
    if len(args) > 1 or not isinstance(given, (list, tuple, set, frozenset, dict)):
        return NotImplemented
    spend(len(given))
    if kind is not dict:
        return kind(map(key_of, given) if kind in (set, frozenset) else given)
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        return NotImplemented
    return {key_of(key): value for key, value in pairs}


def _binary(kind: Any, args: tuple[Any, ...], spend: Callable[[int], None]) -> Any:
    """Bytes before protocol 3: text of the characters 0 to 255. Never `bytes(10**12)`."""
    given = args[0] if args else b""
    if isinstance(given, str) and args[1:] in [("latin1",), ("latin-1",)]:
        given = given.encode("latin-1")
    elif len(args) > 1 or not isinstance(given, (bytes, bytearray)):
        return NotImplemented
    spend(len(given) // 32)
    return kind(given)
