"""torch.nn's containers with an `init_cfg`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from initium.modules import BaseModule


class Sequential(BaseModule, nn.Sequential):
    """`nn.Sequential` with an `init_cfg`.

    >>> Sequential(nn.Linear(1, 1), init_cfg=dict(type="Keep", name="0.*")).is_init
    False
    """

    def __init__(self, *args: Any, init_cfg: Mapping[str, Any] | list[Any] | None = None) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.Sequential.__init__(self, *args)


class ModuleList(BaseModule, nn.ModuleList):
    """`nn.ModuleList` with an `init_cfg`.

    >>> len(ModuleList([nn.Linear(1, 1)]))
    1
    """

    def __init__(
        self,
        modules: Iterable[nn.Module] | None = None,
        init_cfg: Mapping[str, Any] | list[Any] | None = None,
    ) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.ModuleList.__init__(self, modules)


class ModuleDict(BaseModule, nn.ModuleDict):
    """`nn.ModuleDict` with an `init_cfg`.

    >>> list(ModuleDict({"head": nn.Linear(1, 1)}))
    ['head']
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module] | None = None,
        init_cfg: Mapping[str, Any] | list[Any] | None = None,
    ) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.ModuleDict.__init__(self, modules)
