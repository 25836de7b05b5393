"""A seed where none is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


def drawn_seed() -> int:
    """A seed from torch's default generator, so that `torch.manual_seed` makes a program repeatable."""
    return int(torch.randint(0, 2**63 - 1, (), device="cpu"))


def fresh_seed() -> int:
    """The same, but where a process group runs, all ranks take the seed of rank 0."""
    seed = drawn_seed()
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        box = [seed]
        if dist.get_backend() != "fake":
            dist.broadcast_object_list(box, src=0)
        seed = box[0]
    return seed


@contextmanager
def undrawn_on_error() -> Iterator[None]:
    """Where an error follows, torch's default generators are as if nothing had been drawn."""
    on_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch's
    before = torch.get_rng_state(), torch.cuda.get_rng_state_all() if on_cuda else None
    try:
        yield
    except BaseException:
        torch.set_rng_state(before[0])
        if before[1] is not None:
            torch.cuda.set_rng_state_all(before[1])
        raise


@contextmanager
def fresh_seed_within() -> Iterator[int]:
    """A fresh seed; where an error follows, torch's generator is as if it had not been drawn."""
    before = torch.get_rng_state()
    seed = fresh_seed()
    drawn = torch.get_rng_state()
    try:
        yield seed
    except BaseException:
        if drawn.equal(torch.get_rng_state()):  # nor anything else since
            torch.set_rng_state(before)
        raise
