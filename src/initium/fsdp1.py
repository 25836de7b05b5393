"""The first FSDP of torch, `FullyShardedDataParallel`, which flattens what it wraps.

It asks for the values of a unit before it flattens it: that is when a plan can give them. For
`fully_shard`, the second one, there is nothing to do: `initium.materialize` takes its models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from initium.apply import NOT_FINITE, agreed
from initium.cluster import Ranks
from initium.errors import InitError
from initium.here import unseen
from initium.materializing import check_complete
from initium.placing import place
from initium.planning import Plan, plan_of, remember_plan
from initium.protection import protect_loaded
from initium.report import log
from initium.streams import Seed, check_seed
from initium.todo import stream_keys, to_do
from initium.tree import Slot, Tree, is_lazy, join
from initium.writes import Load, Write
from initium.writing import Target, Writer


def param_init_fn(
    model: nn.Module,
    plan: Plan | None = None,
    seed: Seed | None = None,
    device: torch.device | str | None = None,
    process_group: Any = None,
) -> Callable[[nn.Module], None]:
    """The `param_init_fn` with which `FullyShardedDataParallel` gives a model the values of a plan.

    Each rank fills a unit as a whole, since that is what FSDP flattens and cuts; nothing needs to
    be sent around, so leave `sync_module_states` off. A tensor that has memory is left alone. What
    FSDP shall ignore is not asked for: call the function on these modules yourself.

    Args:
        model: on `meta`, as a whole, before any part of it is wrapped.
        plan: None: the one the model was built by.
        seed: to draw with in place of the plan's.
        device: where a unit is filled; None: torch's default device. FSDP moves it to its
            `device_id` afterwards, so that this is the best place.
        process_group: of the ranks that hold the model; None: all of them. They compare their plans
            here, once.

    Raises:
        InitError: there is no plan, or one that does not fit the model, or it says nothing of a
            tensor on `meta`, or the ranks disagree. The function raises one for a module that is
            not of the model, and where FSDP pulls tied tensors apart.

    >>> import initium
    >>> model = initium.build(lambda: nn.Linear(3, 2), seed=7, device="meta")
    >>> fill = param_init_fn(model)  # FullyShardedDataParallel(model, param_init_fn=fill, ...)
    >>> fill(model)
    >>> model.weight.equal(initium.build(lambda: nn.Linear(3, 2), seed=7).weight)
    True
    """
    with unseen():
        ranks, tree = _ranks(process_group), Tree(model)
        with ranks.together():
            plan = plan_of(model) if plan is None else plan
            check_seed(0 if seed is None else seed)
            plan = replace(plan, seed=plan.seed if seed is None else seed, files=plan.files.copy())
            _check_units(plan)
            check_complete(plan, tree)
            todo = to_do(plan, tree, on_meta=True)
        plan = agreed(plan, ranks)
        remember_plan(model, plan)
    return _Filler(plan, tree, dict(todo), device)


def _ranks(group: Any) -> Ranks:
    """The ranks of a process group; of None: all."""
    running = dist.is_available() and dist.is_initialized()
    return Ranks([group or dist.group.WORLD] if running else [])


def _check_units(plan: Plan) -> None:
    if plan.rng == "torch":
        raise InitError(
            "rng='torch' draws one tensor after the other, in the order of the plan, but FSDP asks "
            "for one unit after the other; leave rng out"
        )


class _Filler:
    """Fills the tensors that a module itself holds, each when a module that holds it is first met."""

    def __init__(
        self,
        plan: Plan,
        tree: Tree,
        writes: dict[Slot, list[Write]],
        device: torch.device | str | None,
    ) -> None:
        self.tree, self.writes, self.device = tree, writes, device
        self.key, self.files = stream_keys(plan.seed), plan.files
        self.tied: dict[Slot, tuple[int, ...]] = {}  # the shapes of parameters that are filled
        self.met: set[int] = set()  # the ids of modules

    def __call__(self, module: nn.Module) -> None:
        self._check_ties()
        self.met.add(id(module))
        slots = list(dict.fromkeys(self._slots(module)))
        fresh = [slot for slot in slots if slot.tensor.is_meta]
        with unseen():
            _give_memory(fresh, self.device)
            self._fill([slot for slot in fresh if slot in self.writes])
        tied = (slot for slot in fresh if slot.aliases and not slot.is_buffer)
        self.tied |= {slot: tuple(slot.tensor.shape) for slot in tied}

    def _fill(self, slots: list[Slot]) -> None:
        writer = Writer(self.key, self.files)
        writer.write(Target(s.name, s.path, s.tensor, self.writes[s]) for s in slots)
        for slot in slots:
            last = self.writes[slot][-1]
            if isinstance(last, Load):
                protect_loaded(slot, last)
        log.warn(NOT_FINITE.format(name) for name in writer.not_finite)

    def _check_ties(self) -> None:
        """Raise where FSDP has flattened a tied parameter without some module that holds it.

        It asks for all modules of a unit before it flattens the unit.
        """
        for slot, shape in self.tied.items():
            places = slot.places()
            all_met = self.met.issuperset(id(place.owner) for place in places)
            if not all_met and any(_is_flat(place, shape) for place in places):
                names = ", ".join(place.path for place in places)
                raise InitError(
                    f"{names} are one tensor, but FSDP has put them into different units, where it "
                    "would be two; choose an auto_wrap_policy that leaves them to one unit (to the "
                    "outermost, by wrapping neither of their modules)"
                )

    def _slots(self, module: nn.Module) -> Iterator[Slot]:
        for store in (module._parameters, module._buffers):
            for local, tensor in store.items():
                if tensor is None or is_lazy(tensor):
                    continue
                slot = self.tree.at.get((id(module), local))
                if slot is not None:
                    yield slot
                elif tensor.is_meta:
                    raise InitError(self._unknown(module, local))

    def _unknown(self, module: nn.Module, local: str) -> str:
        of = type(self.tree.root).__name__
        if self.tree.has(module):
            name = join(self.tree.path_of(module), local)
            return f"{name} of {of} is newer than this param_init_fn; make the function after it"
        return (
            f"{local} of this {type(module).__name__} is on meta, but the module is none of the {of} "
            "that this param_init_fn was made for; make the function from the model that is wrapped, "
            "as a whole"
        )


def _give_memory(slots: list[Slot], device: torch.device | str | None) -> None:
    """Give tensors memory, at all their places."""
    shell = nn.Module()
    inside = [replace(slot, owner=shell, local=str(i)) for i, slot in enumerate(slots)]
    for slot, copy in zip(slots, inside, strict=True):
        _store(copy)[copy.local] = slot.tensor
    place(shell, device, only_meta=True)
    for slot, copy in zip(slots, inside, strict=True):
        for each in slot.places():
            _store(each)[each.local] = copy.tensor


def _store(slot: Slot) -> dict[str, Any]:
    return slot.owner._buffers if slot.is_buffer else slot.owner._parameters


def _is_flat(place: Slot, shape: tuple[int, ...]) -> bool:
    """Whether FSDP has taken a parameter away, or cut it."""
    held = _store(place).get(place.local)
    return held is None or tuple(held.shape) != shape
