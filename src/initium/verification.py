"""Proof that a model is as its plan says: no gaps, no strays, spreads as they must be."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from initium.checkpoint import Files, check_fits
from initium.digest import digest_of, same_bits
from initium.errors import InitError, listing
from initium.given import check_is, check_model
from initium.here import unseen
from initium.likeness import not_finite, problems_of
from initium.lines import Line
from initium.planning import Plan, plan_of
from initium.protection import protection_of
from initium.refilling import refill
from initium.shard import empty_like, is_sharded, memory_of, shape_of
from initium.streams import keys_of
from initium.tree import Slot, Tree, is_lazy
from initium.writes import Fill, Load, Write, is_keep


def verify(model: nn.Module, plan: Plan | None = None) -> int:
    """Check every tensor of a model that was just initialised against its plan.

    No tensor is on `meta`. No value is NaN or infinite that the plan did not ask for. Constants are
    what they should be; drawn values lie within their bounds, and their mean and standard deviation
    within what their number allows; what was loaded, captured or protected is still the same.

    Args:
        model: before its first training step.
        plan: None: the one that it was last initialised by.

    Returns:
        how many tensors were checked.

    Raises:
        InitError: naming each tensor that is not as planned, with what was found.

    >>> import initium
    >>> model = initium.build(lambda: nn.Linear(30, 40), seed=0)
    >>> verify(model)
    2
    >>> _ = model.bias.data.fill_(float("nan"))
    >>> verify(model)
    Traceback (most recent call last):
    initium.errors.InitError: 1 of 2 tensors are not as planned: bias: 40 values are NaN or infinite
    """
    check_model(model)
    if plan is not None:
        check_is("plan", plan, Plan, "an initium.Plan")
    with unseen(), torch.no_grad():
        plan = plan_of(model) if plan is None else plan
        slots = {slot.name: slot for slot in Tree(model).slots}
        check = _Checker(plan)
        found = [
            f"{name}: the model has no such tensor" for name in plan.lines if name not in slots
        ]
        checked = [(slots[line.name], line) for line in plan if line.name in slots]
        # what an earlier plan has loaded, and this one does not mention
        others = [slot for name, slot in slots.items() if name not in plan.lines]
        checked += [(slot, _unplanned(slot)) for slot in others if protection_of(slot)]
        for slot, line in checked:
            problem = next(check.problems(slot, line), None)
            found += [f"{slot.name}: {problem}"] if problem else []
    if found:
        total = max(len(plan), len(checked))
        raise InitError(f"{len(found)} of {total} tensors are not as planned: {listing(found)}")
    return len(checked)


def _unplanned(slot: Slot) -> Line:
    tensor = slot.tensor
    return Line(slot.name, slot.path, shape_of(tensor), str(tensor.dtype))


class _Checker:
    """Compares tensors with what a plan, or their protection, says of them."""

    def __init__(self, plan: Plan) -> None:
        self.seed = plan.seed
        self.key = keys_of(0 if plan.seed is None else plan.seed)
        self.files = Files()

    def problems(self, slot: Slot, line: Line) -> Iterator[str]:
        tensor = slot.tensor
        if is_lazy(tensor):
            return
        if tensor.is_meta:
            yield "it is on meta, without memory"
            return
        left = line.carried_out
        if is_sharded(tensor) and left and not is_keep(left[0]):
            yield from self._not_as_filled(slot, line)
            return
        if not any(isinstance(write, Load) for write in left):  # which is looked at below
            yield from self._unprotected(slot)
        for i, write in enumerate(left):
            later = left[i + 1 :]
            if isinstance(write, Load):
                yield from self._not_loaded(slot, write, later)
            else:
                yield from problems_of(_written(tensor.detach(), write, later), write)
        if not left or is_keep(left[0]):
            yield from not_finite(memory_of(tensor))

    def _not_as_filled(self, slot: Slot, line: Line) -> Iterator[str]:
        """A shard says little of means and spreads, so it is filled again, and compared."""
        twin = empty_like(slot.tensor)
        try:
            refill(twin, slot, line, slot.tensor, self.seed, self.files)
        except InitError as error:
            yield f"it cannot be compared: {error}"
            return
        if not same_bits(memory_of(slot.tensor), memory_of(twin)):
            yield f"the part of it that this rank holds is not what {line.what} gives"

    def _unprotected(self, slot: Slot) -> Iterator[str]:
        guard = protection_of(slot)
        if guard is None:
            return
        if isinstance(guard, Load):
            yield from self._not_loaded(slot, guard, [])
        elif guard.digest != digest_of(memory_of(slot.tensor)):
            yield f"it has changed since it was {guard.source}"

    def _not_loaded(self, slot: Slot, load: Load, later: list[Write]) -> Iterator[str]:
        """A loaded tensor is compared with the checkpoint, which is read again."""
        try:
            entry = load.entry(self.files, shape_of(slot.tensor))
            check_fits(entry, slot)
            read = entry.read(self.key(load.stream or slot.path)).to(slot.tensor)
        except InitError as error:
            yield f"it cannot be compared with what was loaded: {error}"
            return
        values = _written(slot.tensor.detach(), load, later)
        if not same_bits(values, _written(read, load, later)):
            yield f"it has changed since it was loaded by {load.source} from {load.checkpoint}"


def _written(tensor: Tensor, write: Write, later: list[Write]) -> Tensor:
    """The elements that a write has given their values: not those that later ones have."""
    own = [w for w in later if isinstance(w, Fill) and w.where is not None]
    if not own:
        return tensor if write.where is None else write.where.of(tensor)
    mask = torch.zeros(tensor.shape, dtype=torch.bool, device=tensor.device)
    (mask if write.where is None else write.where.of(mask)).fill_(True)
    for after in own:
        after.where.of(mask).fill_(False)
    return tensor[mask]
