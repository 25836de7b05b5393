"""Which tensors a module's own `init_weights` has set, so that a parent does not set them again."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from torch import nn

# kept outside of the modules: nothing of ours hangs on them
_SET: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()


def remember(module: nn.Module, paths: Iterable[str]) -> None:
    """Note that `init_weights` of `module` has set the tensors at `paths`, seen from it."""
    _SET[module] = frozenset(paths)


def remembered(module: nn.Module) -> frozenset[str]:
    """The paths of the tensors that `init_weights` of `module` has set, seen from it."""
    return _SET.get(module, frozenset())
