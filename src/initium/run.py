"""A run: one initialisation from its root, with its seed and what has happened so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from initium.ledger import Ledger
from initium.streams import Generators, Seed, keys_of
from initium.tree import Tree, join


@dataclass
class Run:
    """One initialisation from its root; what user code starts within it belongs to it.

    Attributes:
        ledger: what has happened to the tensors.
        seed: of the streams; None: torch's default generators are used as they stand.
        generators: of torch, where they draw.
        draws: how often user code has drawn by calling this package.
    """

    ledger: Ledger
    seed: Seed | None
    generators: Generators | None = None
    draws: int = 0

    def prefix(self, module: nn.Module) -> str | None:
        """The path of a module in the tree of this run; None where it is not part of it."""
        tree = self.ledger.tree
        return next((tree.paths[name] for name, m in tree.modules.items() if m is module), None)

    def paths_set_below(self, module: nn.Module) -> list[str]:
        """The paths, seen from a module, of the tensors in it that something has set."""
        stem = f"{self.prefix(module)}." if self.prefix(module) else ""
        set_already = (place.path for slot in self.ledger.credits for place in slot.places())
        return [path.removeprefix(stem) for path in set_already if path.startswith(stem)]

    def keys(self, prefix: str, for_user_code: bool) -> Callable[[str], int]:
        """The keys of tensors by their paths below `prefix`.

        What user code draws by calling this package has other keys each time.
        """
        if self.generators is not None:
            return lambda _: 0  # torch's generators have no keys
        assert self.seed is not None
        seed = self.seed
        if for_user_code:
            self.draws += 1
            seed = seed, "user code", self.draws
        key = keys_of(seed)
        return lambda path: key(join(prefix, path))


_RUN: ContextVar[Run | None] = ContextVar("initium_run", default=None)


def current_run() -> Run | None:
    """The initialisation that is going on in this context."""
    return _RUN.get()


@contextmanager
def running(model: nn.Module, seed: Seed | None, rng: str) -> Iterator[Run]:
    """Start an initialisation of `model` from its root."""
    if rng == "torch":
        assert seed is None or isinstance(seed, int)  # the plan has seen to it
        run = Run(Ledger(Tree(model)), seed, Generators(seed))
    else:
        run = Run(Ledger(Tree(model)), fresh_seed() if seed is None else seed)
    token = _RUN.set(run)
    try:
        yield run
    finally:
        _RUN.reset(token)


def fresh_seed() -> int:
    """A seed from torch's default generator, so that `torch.manual_seed` makes a program repeatable.

    Where a process group runs, all ranks take the one of rank 0.
    """
    seed = int(torch.randint(0, 2**63 - 1, (), device="cpu"))
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        box = [seed]
        dist.broadcast_object_list(box, src=0)
        seed = box[0]
    return seed
