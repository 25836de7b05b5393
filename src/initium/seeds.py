"""A seed where none is given."""

from __future__ import annotations

import torch
import torch.distributed as dist


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
