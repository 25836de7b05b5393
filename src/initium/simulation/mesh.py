"""The mesh that is asked for, and a process group that only pretends to be one of many."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from initium.errors import InitError, InitTypeError, did_you_mean

T = TypeVar("T")
# the names of a mesh dimension, by what is done along it
ROLES = {
    "shard": ("dp", "fsdp", "dp_shard"),
    "replicate": ("dp_replicate", "replicate", "ddp"),
    "tensor": ("tp",),
    "expert": ("ep",),
}
MOST = 1 << 20  # ranks: several numbers are kept of each
ALLOWED = "dp, fsdp, dp_shard (sharded), dp_replicate, replicate, ddp (copies), tp and ep"


def mesh_sizes(mesh: str | Mapping[str, int] | None, world: int, rank: int) -> dict[str, int]:
    """The dimensions of a mesh by name, checked against the number of ranks.

    Args:
        mesh: `"dp=128,tp=8"`, or a mapping; None: `dp` alone.
        world: the number of ranks.
        rank: which must be one of them.

    Raises:
        InitError: the mesh cannot be read, does not have `world` ranks, or has no such rank.

    >>> mesh_sizes("dp=4,tp=2", world=8, rank=0)
    {'dp': 4, 'tp': 2}
    """
    for name, number in (("world", world), ("rank", rank)):
        if not isinstance(number, int) or isinstance(number, bool):
            raise InitTypeError(f"{name} must be an int, but got {number!r}")
    if not 1 <= world <= MOST or not 0 <= rank < world:
        raise InitError(
            f"world must be from 1 to {MOST}, and rank from 0 to world - 1, but got "
            f"world={world}, rank={rank}"
        )
    sizes = {"dp": world} if mesh is None else _read(mesh)
    if math.prod(sizes.values()) != world:
        product = f"{'·'.join(map(str, sizes.values()))} = " if len(sizes) > 1 else ""
        raise InitError(
            f"the mesh {_text(sizes)} has {product}{math.prod(sizes.values())} ranks, but "
            f"world is {world}; the product of its sizes must be world"
        )
    return sizes


def _read(mesh: str | Mapping[str, int]) -> dict[str, int]:
    if isinstance(mesh, str):
        pairs = [part.partition("=")[::2] for part in mesh.split(",")]
        found = [(name.strip(), _size(name, size)) for name, size in pairs]
    elif isinstance(mesh, Mapping):
        found = [(_name(name), _size(name, size)) for name, size in mesh.items()]
    else:
        raise InitTypeError(f"mesh must be a str, as dp=4,tp=2, or a mapping, but got {mesh!r}")
    sizes = dict(found)
    if not sizes or len(sizes) < len(found) or "" in sizes:
        raise InitError(f"mesh must be dimensions with names of their own, as dp=4,tp=2: {mesh!r}")
    return sizes


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise InitTypeError(f"the name of a mesh dimension must be a str, but got {name!r}")
    return name.strip()


def _size(name: str, size: object) -> int:
    number = int(size) if isinstance(size, str) and size.strip().isdecimal() else size
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InitError(f"mesh dimension {name!r} needs a size of 1 or more, as dp=4, not {size!r}")
    return number


def roles_of(sizes: Mapping[str, int]) -> dict[str, str]:
    """The dimension of each role.

    Raises:
        InitError: a name that has no role, or two names of one role.

    >>> roles_of({"dp": 4, "tp": 2})
    {'shard': 'dp', 'tensor': 'tp'}
    """
    found: dict[str, str] = {}
    for name in sizes:
        role = next((role for role, names in ROLES.items() if name in names), None)
        if role is None:
            known = [n for names in ROLES.values() for n in names]
            raise InitError(
                f"mesh dimension {name!r} is unknown.{did_you_mean(name, known)} There are: "
                f"{ALLOWED}; a TARGET with a parameter `mesh` may use any name and shards itself"
            )
        if role in found:
            raise InitError(
                f"mesh dimensions {found[role]!r} and {name!r} are both for the same thing; give one"
            )
        found[role] = name
    return found


def _text(sizes: Mapping[str, int]) -> str:
    return ",".join(f"{name}={size}" for name, size in sizes.items())


@dataclass(frozen=True, eq=False)
class Layout:
    """How ranks lie along named dimensions.

    Attributes:
        names: of the dimensions.
        ranks: the rank at each coordinate.
    """

    names: tuple[str, ...]
    ranks: Tensor

    def mesh(self, device: str = "cpu") -> Any:
        """The device mesh, as the current rank sees it."""
        from torch.distributed.device_mesh import DeviceMesh

        return DeviceMesh(device, self.ranks, mesh_dim_names=self.names)

    def ending_in(self, names: Sequence[str]) -> Layout:
        """The same with these dimensions in this order; itself where they are."""
        if [name for name in self.names if name in names] == list(names):
            return self
        order = [*(name for name in self.names if name not in names), *names]
        return Layout(tuple(order), self.ranks.permute([self.names.index(n) for n in order]))


def layout(sizes: Mapping[str, int], groups: Mapping[str, Sequence[str]] | None = None) -> Layout:
    """Ranks in row-major order of the dimensions; then, perhaps, these joined and put in order.

    Args:
        sizes: of the dimensions.
        groups: for each dimension of the result, those of `sizes` that make it up.

    >>> layout({"tp": 2, "dp": 3}, {"dp": ["dp"], "tp": ["tp"]}).ranks.tolist()
    [[0, 3], [1, 4], [2, 5]]
    """
    ranks = torch.arange(math.prod(sizes.values())).reshape(*sizes.values())
    if groups is None:
        return Layout(tuple(sizes), ranks)
    order = [list(sizes).index(name) for group in groups.values() for name in group]
    joined = [math.prod(sizes[name] for name in group) for group in groups.values()]
    return Layout(tuple(groups), ranks.permute(order).reshape(joined).contiguous())


def as_rank(world: int, rank: int, work: Callable[[], T]) -> T:
    """What `work` returns in a process group where this process seems to be one of many.

    Nothing is ever sent. The work is done in a thread of its own: what torch remembers of DTensors
    is of that thread, and it takes meshes for the same that other ranks see.

    Raises:
        InitError: a process group is there already.
    """
    from torch import distributed

    if not distributed.is_available():
        raise InitError("this build of torch has no torch.distributed, which simulate needs")
    if distributed.is_initialized():
        raise InitError(
            "a process group is running here, and a simulation needs one of its own: call simulate "
            "in a process without torchrun, or after destroy_process_group()"
        )
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(_in_group, world, rank, work).result()


def _in_group(world: int, rank: int, work: Callable[[], T]) -> T:
    from torch import distributed
    from torch.testing._internal.distributed.fake_pg import FakeStore

    hook = sys.excepthook  # which torch wraps, to name the rank
    distributed.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        return work()
    finally:
        distributed.destroy_process_group()
        sys.excepthook = hook
