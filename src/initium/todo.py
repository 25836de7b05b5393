"""What is to be written to the tensors of a model; all that can be wrong is found here, before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from initium.checkpoint import Files, check_fits
from initium.errors import InitError, InitNameError, did_you_mean, located
from initium.flat import check_not_flat
from initium.folded import check_foldable, is_folded
from initium.initializers import check_tensor
from initium.lines import Line
from initium.planning import Plan
from initium.protection import check_writes
from initium.record import is_plain, whole_and_alone
from initium.shard import check_held, is_sharded, shape_of
from initium.streams import Seed, keys_of
from initium.tree import Slot, Tree
from initium.writes import Capture, Fill, Load, Write, is_keep

ToDo = list[tuple[Slot, list[Write]]]
Wanted = Callable[[Slot, list[Write]], bool]


def stream_keys(seed: Seed | None) -> Callable[[str, Fill | Load], int]:
    """The keys that the writes to tensors are drawn with: path, write -> key."""
    named = keys_of(0 if seed is None else seed)  # torch's generators have no keys

    def key(path: str, write: Fill | Load) -> int:
        if isinstance(write.stream, int):
            return write.stream
        assert write.stream is None or isinstance(write.stream, str)
        return named(write.stream or path)

    return key


def to_do(plan: Plan, tree: Tree, on_meta: bool = False, wanted: Wanted = lambda *_: True) -> ToDo:
    """What is to be written, in order; everything that can be wrong is found before the first.

    With `on_meta`, tensors need no memory yet.
    """
    check_not_flat(tree)
    found, named = ToDo(), tree.named
    for line in plan:
        for slot in _slots(plan, line, tree, named):
            writes = [_as_named(write, line, slot) for write in line.carried_out]
            if writes and wanted(slot, writes):
                with located(slot.name):
                    _check_place(slot.tensor, line, on_meta)
                check_writes(slot, writes)
                with located(slot.name):
                    for write in writes:
                        check_ready(slot, write, plan.files)
                found.append((slot, writes))
    return _arranged(plan, tree, found)


def _slots(plan: Plan, line: Line, tree: Tree, named: dict[str, Slot]) -> list[Slot]:
    """The tensor of a line; several where what was tied when it was planned is so no more."""
    # wrappers come and go: data parallel, compiling, recomputing
    known = (named.get(name) for name in (line.name, line.path, *line.aliases))
    slots = list(dict.fromkeys(slot for slot in known if slot is not None))
    if not slots:
        raise InitNameError(
            f"the plan of {plan.model} has a tensor {line.name}, "
            f"which {type(tree.root).__name__} has not.{did_you_mean(line.name, named)}"
        )
    return slots


def _as_named(write: Write, line: Line, slot: Slot) -> Write:
    """A write that draws from the tensor's own stream, which has the name that the plan knows."""
    if isinstance(write, Capture) or write.stream is not None or slot.path == line.path:
        return write
    return replace(write, stream=line.path)


def just_planned(
    plan: Plan, tree: Tree, on_meta: bool = False, wanted: Wanted = lambda *_: True
) -> ToDo:
    """The same for a plan that was just made of this tree: what was checked then is fine."""
    found = []
    with located() as at:
        for slot in tree.slots:
            at.place, line = slot.name, plan.lines.get(slot.name)
            if line is not None and line.carried_out and wanted(slot, line.carried_out):
                _check_memory(slot.tensor, line, on_meta)
                found.append((slot, line.carried_out))
    return _arranged(plan, tree, found)


def _arranged(plan: Plan, tree: Tree, found: ToDo) -> ToDo:
    if plan.rng == "torch" and any(is_sharded(slot.tensor) for slot, _ in found):
        raise InitError(
            "rng='torch' draws whole tensors, of which this rank holds a part; leave rng out, or "
            "initialize the model before it is sharded"
        )
    if any(_maps(write) for _, writes in found for write in writes):
        alone = {slot for slot in whole_and_alone(tree.slots) if _is_one(slot)}
        found = [(s, writes if s in alone else list(map(_read, writes))) for s, writes in found]
    # torch's generators draw in this order; a stable sort: within one rule, the model's order
    return sorted(found, key=lambda item: item[1][0].order)


def _maps(write: Write) -> bool:
    """Whether a tensor's memory would be exchanged for that of a file."""
    return isinstance(write, Load) and write.recipe.mmap


def _is_one(slot: Slot) -> bool:
    """Whether all places have the same object, and not several that share their memory."""
    return all(place.tensor is slot.tensor for place in slot.aliases)


def _read(write: Write) -> Write:
    """A load that leaves the tensor's memory where it is, as others share it."""
    if not isinstance(write, Load):
        return write
    return replace(write, recipe=replace(write.recipe, mmap=False))


def _check_place(tensor: Tensor, line: Line, on_meta: bool) -> None:
    if shape_of(tensor) != line.shape:
        raise InitError(
            f"the plan is for the shape {list(line.shape)}, but it is {list(shape_of(tensor))}"
        )
    _check_memory(tensor, line, on_meta)


def _check_memory(tensor: Tensor, line: Line, on_meta: bool) -> None:
    if tensor.is_meta and not on_meta and not is_keep(line.decisive):
        raise InitError(
            "this tensor is on the meta device and has no memory; "
            "initium.materialize(model, plan=plan) gives it both"
        )


def check_ready(slot: Slot, write: Write, files: Files) -> None:
    """Look at everything about a write before it is carried out; its checkpoint is opened.

    Raises:
        InitError: it cannot be carried out.
    """
    tensor = slot.tensor
    if isinstance(write, Fill):
        whole = tensor
        if write.where is not None:  # to slice a DTensor would move its values
            whole = write.where.of(torch.empty(shape_of(tensor), dtype=tensor.dtype, device="meta"))
            check_held(tensor)
        check_tensor(whole, write.initializer)
        return
    if isinstance(write, Capture):
        if write.values is None or write.values.is_meta:
            raise InitError(f"the plan has no values for it, which {write.source} computed")
        if is_plain(tensor) and is_folded(tensor):
            check_foldable(tensor, write.values)
        else:
            check_held(tensor)
        return
    check_held(tensor)
    files.opened(write.recipe)
    with located(write.checkpoint):
        check_fits(write.entry(files, shape_of(tensor)), slot)
