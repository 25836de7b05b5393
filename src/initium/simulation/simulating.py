"""Simulating one rank: build, shard, count, compare, draw."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from initium.building import build
from initium.config import InitCfg
from initium.errors import InitError, InitTypeError, located
from initium.planning import Plan, plan_config, plan_of
from initium.simulation.counting import Share, share_of
from initium.simulation.drawing import draw_largest, measured_speed
from initium.simulation.mesh import Layout, as_rank, layout, mesh_sizes, roles_of
from initium.simulation.ranks import per_rank
from initium.simulation.result import Simulation
from initium.simulation.sharding import shard_model
from initium.simulation.summary import counted, notes
from initium.simulation.tiling import sample, tiled
from initium.streams import Seed, check_seed
from initium.tree import Tree


def simulate(
    factory: Callable[..., nn.Module],
    *,
    world: int,
    mesh: str | Mapping[str, int] | None = None,
    rank: int = 0,
    init_cfg: InitCfg | None = None,
    seed: Seed = 0,
    draw: int = 3,
    speed: float | None = None,
    tp_plan: Mapping[str, str] | None = None,
    limit: int = 256 << 20,
) -> Simulation:
    """Say what one rank of a cluster will hold, draw and need, without the cluster.

    The model is built on `meta` and sharded as that rank would see it; then the shards of all ranks
    are counted, those of sampled tensors are found to make up their tensor, and the largest of the
    rank are really drawn and compared with the global stream.

    `dp`, `fsdp` or `dp_shard`: `fully_shard` on every child of a `ModuleList` and on the model.
    `dp_replicate`, `replicate` or `ddp`: copies, with shards HSDP. `tp`: by the model's own plan;
    what that does not name is replicated. `ep`: stacked experts are cut along their first
    dimension; what is no expert is sharded over `dp` and `ep` together.

    Args:
        factory: makes the model, as in `build`. With a parameter `mesh` it is given the
            `DeviceMesh`, and returns the model on `meta`, sharded, and made by `initium.build`, or
            with an `init_cfg` that says everything.
        world: the number of ranks.
        mesh: `"dp=128,tp=8"`, or a mapping, in order; None: `dp` alone. Neighbouring ranks differ
            in the last one.
        rank: which rank to look at.
        init_cfg: rules on top of what the constructor writes.
        seed: of the random streams.
        draw: how many of the rank's largest shards are drawn.
        speed: values a second that a rank draws; None: as measured on this machine.
        tp_plan: name patterns (of a parameter, or its module) with `colwise`, `rowwise`,
            `shard(dim)` or `replicate`; None: the model's own.
        limit: bytes; a larger shard is drawn in pieces of at most as many.

    Raises:
        InitError: the mesh, rank or plan does not fit the model, a process group is running, or
            something was found to be wrong.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.blocks = nn.ModuleList(nn.Linear(6, 5) for _ in range(2))
    >>> found = simulate(Net, world=4, rank=3)
    >>> found.elements, found.parameters, found.kinds["drawn"], found.most
    (70, 0, 0, (0, 112))
    """
    sizes = mesh_sizes(mesh, world, rank)
    shards_itself = takes_mesh(factory)
    roles = {} if shards_itself else roles_of(sizes)
    _check(draw, limit, speed)
    check_seed(seed)

    def seen() -> tuple[Plan, tuple[Layout, ...], list[Share], dict[str, Any]]:
        if shards_itself:
            model, plan, roots = _sharded_by(factory, sizes, init_cfg, seed)
        else:
            model = build(factory, seed=seed, init_cfg=init_cfg, device="meta")
            plan, roots = plan_of(model), shard_model(model, sizes, roles, tp_plan)
        shares = [share_of(slot, plan) for slot in Tree(model).slots]
        found = counted(shares, measured_speed() if speed is None else speed)
        found["drawn"] = tuple(draw_largest(shares, plan, draw, limit, rank))
        return plan, roots, shares, found

    plan, roots, shares, found = as_rank(world, rank, seen)
    total, apart = per_rank(shares, roots, world)
    return Simulation(
        model=plan.model,
        seed=plan.seed,
        world=world,
        mesh=sizes,
        rank=rank,
        coordinate=tuple(int(i) for i in np.unravel_index(rank, tuple(sizes.values()))),
        **found,
        mean=float(total.mean()),
        most=(int(total.argmax()), int(total.max())),
        least=(int(total.argmin()), int(total.min())),
        tiled=tuple(tiled(sample(shares), roots, world, rank)),
        notes=tuple(notes(shares, apart, plan)),
    )


def _check(draw: object, limit: object, speed: object) -> None:
    for name, value, least in (("draw", draw, 0), ("limit", limit, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InitError(f"{name} must be an int of at least {least}, but got {value!r}")
    if speed is not None and not (isinstance(speed, (int, float)) and speed > 0):
        raise InitError(f"speed must be a number of values a second above 0, but got {speed!r}")


def takes_mesh(factory: Callable[..., Any]) -> bool:
    """Whether a callable has a parameter `mesh`, and so shards the model itself."""
    try:
        return "mesh" in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin has no signature
        return False


def _sharded_by(
    factory: Callable[..., nn.Module],
    sizes: Mapping[str, int],
    init_cfg: InitCfg | None,
    seed: Seed,
) -> tuple[nn.Module, Plan, tuple[Layout, ...]]:
    """The model that a factory has sharded over the mesh itself."""
    root = layout(sizes)
    model = factory(mesh=root.mesh())
    if not isinstance(model, nn.Module):
        raise InitTypeError(f"the factory must return a torch.nn.Module, but got {model!r}")
    if init_cfg is not None:
        plan, _ = plan_config(model, init_cfg, seed=seed)
    else:
        with located("the model that TARGET has sharded"):
            plan = plan_of(model)
    return model, replace(plan, seed=seed), (root,)
