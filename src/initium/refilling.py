"""A tensor filled once more as its plan says, for comparison."""

from __future__ import annotations

from torch import Tensor

from initium.checkpoint import Files
from initium.errors import located
from initium.lines import Line
from initium.shard import memory_of
from initium.streams import Seed
from initium.todo import check_ready, stream_keys
from initium.tree import Slot
from initium.writing import Target, Writer


def refill(
    into: Tensor, slot: Slot, line: Line, before: Tensor, seed: Seed | None, files: Files
) -> None:
    """Write what `apply` would write, to another tensor than that of the model.

    Args:
        into: of the shape of the line, plain or sharded as `before` is.
        slot: the place of the tensor in its model.
        line: what the plan says of it.
        before: elements that nothing writes are taken from it.
        seed: of the plan.
        files: the checkpoints that are open.

    Raises:
        InitError: something of it cannot be carried out, as a checkpoint that is gone.
    """
    with located(line.name):
        for write in line.carried_out:
            check_ready(slot, write, files)
    if line.write is None:
        memory_of(into).copy_(memory_of(before))
    target = Target(line.name, slot.path, into, line.carried_out)
    Writer(stream_keys(seed), files).write([target])
