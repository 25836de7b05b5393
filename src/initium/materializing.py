"""Memory and values for a model on `meta`, sharded or not."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from initium.apply import agreed, carry_out
from initium.cluster import ranks_of
from initium.errors import InitError, listing
from initium.given import check_is, check_model
from initium.here import unseen
from initium.lines import Line
from initium.placing import check_place, place, warn_of_new
from initium.planning import Plan, plan_of
from initium.report import Report
from initium.streams import Seed, check_rng
from initium.todo import to_do
from initium.tree import Tree, is_lazy
from initium.writes import is_keep


def materialize(
    model: nn.Module,
    *,
    device: torch.device | str | None = None,
    plan: Plan | None = None,
    seed: Seed | None = None,
) -> Report:
    """Give the tensors of a model that are on `meta` memory, and the values of a plan.

    A model may be sharded before: each rank fills the shards that it holds, without communication
    but for a comparison of plans, and the whole is the same as on one process. All ranks call it.

    Args:
        model: built with `build(..., device="meta")`, or any model on `meta` with a plan for it.
        device: where its tensors shall be; None: torch's default device, and for a DTensor that of
            its mesh.
        plan: None: the one the model was built by.
        seed: to draw with in place of the plan's. What was captured stays as it is.

    Returns:
        what happened to every tensor.

    Raises:
        InitError: there is no plan, or one that does not fit the model, or it says nothing of a
            tensor on `meta`; the model is as it was.

    >>> import initium
    >>> model = initium.build(lambda: nn.Linear(3, 2), seed=7, device="meta")
    >>> materialize(model).counts
    {'constructed': 2}
    >>> model.weight.equal(initium.build(lambda: nn.Linear(3, 2), seed=7).weight)
    True
    """
    check_model(model)
    check_is("plan", plan, (Plan, type(None)), "an initium.Plan or None")
    with unseen():
        check_place(device)
        if device is not None and torch.device(device).type == "meta":
            raise InitError("device='meta' has no memory; name one that has, or leave it out")
        plan = plan_of(model) if plan is None else plan
        plan = replace(plan, seed=plan.seed if seed is None else seed, files=plan.files.copy())
        ranks = ranks_of(model)
        with ranks.together():
            check_rng(plan.rng, plan.seed)
            tree = Tree(model)
            check_complete(plan, tree)
            to_do(plan, tree, on_meta=True)
        plan = agreed(plan, ranks)  # before there is memory
        with ranks.together():
            new = place(model, device, only_meta=True)
            todo = to_do(plan, Tree(model))  # shards that were one on meta may be two now
        report = carry_out(plan, model, todo, ranks)
        with ranks.together():  # where warnings are errors, on the one rank that warns
            warn_of_new(new)
        return report


def check_complete(plan: Plan, tree: Tree) -> None:
    """Raise where a tensor on `meta` would get memory but no values, and the plan did not say so."""
    said = any(finding.kind == "unwritten" for finding in plan.findings)
    lines = {name: line for line in plan for name in (line.path, line.name, *line.aliases)}
    missing = []
    for slot in tree.slots:
        if slot.tensor.is_meta and not is_lazy(slot.tensor) and slot.tensor.numel():
            known = [lines[name] for name in slot.names if name in lines]
            written = known and (_is_written(known[0]) or said)
            missing += [] if written else [slot.name]
    if missing:
        raise InitError(
            f"the plan says nothing of {len(missing)} tensors on meta, which would be uninitialised "
            f"memory: {listing(missing)}; build(factory, device='meta') records all that a "
            "constructor writes, buffers too"
        )


def _is_written(line: Line) -> bool:
    """Whether something gives the tensor values: `Keep` has nothing to keep on `meta`."""
    return not is_keep(line.decisive) and bool(line.carried_out)
