"""What ranks tell each other: that all of them will do the same, and that none has failed."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from initium import zero3
from initium.errors import InitError
from initium.shard import is_sharded

T = TypeVar("T")


class Ranks:
    """The ranks that hold a model together. Without process groups, this process alone.

    Args:
        groups: of processes, in the same order on every rank.
    """

    def __init__(self, groups: Iterable[Any] = ()) -> None:
        self._groups = dict.fromkeys(groups)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def first(self, value: T) -> T:
        """The value that the first of the ranks has."""
        known: dict[int, T] = self.gathered({_me(): value})
        return known[min(known)]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Where one rank fails within, all fail, instead of waiting for it for ever.

        Raises:
            InitError: naming the rank that has failed, and its error.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:  # whatever it is, the others wait to hear of it
            error = raised
        failed = self.gathered({} if error is None else {_me(): _text(error)})
        if error is not None:
            raise error
        for rank, text in sorted(failed.items()):
            raise InitError(f"rank {rank} has failed, so this one stops, too: {text}")

    def agree(self, digest: str, lines: Callable[[], Mapping[str, str]]) -> None:
        """Compare what the ranks are about to do.

        Args:
            digest: of all of it.
            lines: what each tensor gets, and the seed; asked for only where digests differ.

        Raises:
            InitError: on every rank, naming the first difference.
        """
        holders = self.gathered({_me(): digest})
        if len(set(holders.values())) < 2:
            return
        # each plan once, by the lowest rank that has it
        plans = {d: rank for rank, d in sorted(holders.items(), reverse=True)}
        known = self.gathered({digest: dict(lines())})
        one, other = sorted(plans.values())[:2]
        raise InitError(
            f"ranks {one} and {other} disagree, and nothing was written: "
            f"{_difference(one, known[holders[one]], other, known[holders[other]])}; give every "
            "rank the same model, config and seed"
        )

    def gathered(self, mine: dict[Any, Any]) -> dict[Any, Any]:
        """What all ranks know: along one dimension of the mesh after the other."""
        for group in self._groups:
            if dist.get_backend(group) == "fake":
                continue
            found: list[Any] = [None] * dist.get_world_size(group)
            dist.all_gather_object(found, mine, group)
            mine = {key: value for known in reversed(found) for key, value in known.items()}
        return mine


def ranks_of(model: nn.Module) -> Ranks:
    """The ranks that hold shards of a model's tensors, or its replicas in data parallel."""
    if not (dist.is_available() and dist.is_initialized()):
        return Ranks()
    wrapped = (m.process_group for m in model.modules() if isinstance(m, DistributedDataParallel))
    tensors = chain(model.parameters(), model.buffers())
    sharing = (group for tensor in tensors for group in groups_of(tensor))
    return Ranks(chain(wrapped, sharing))


def groups_of(tensor: Tensor) -> list[Any]:
    """The process groups over which a tensor is spread."""
    if zero3.is_partitioned(tensor):
        return zero3.groups(tensor)
    if not is_sharded(tensor):
        return []
    mesh = tensor.device_mesh  # type: ignore[attr-defined]
    return [] if mesh.get_coordinate() is None else list(mesh.get_all_groups())


def _me() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _text(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def _difference(one: int, first: Mapping[str, str], other: int, second: Mapping[str, str]) -> str:
    for name in [*first, *second]:
        if first.get(name) != second.get(name):
            texts = (f"rank {r} has {t.get(name, 'no such tensor')}" for r, t in
                     ((one, first), (other, second)))  # fmt: skip
            return f"{name}: {', '.join(texts)}"
    return "their lines are in another order"
