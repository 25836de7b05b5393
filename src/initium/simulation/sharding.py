"""Sharding a model as the ranks of a mesh would: torch's DTensor and `fully_shard` do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from initium.errors import InitError
from initium.shard import memory_of
from initium.simulation.mesh import Layout, layout
from initium.simulation.styles import (
    check_heads,
    experts,
    matched,
    placement,
    read_plan,
    tensor_plan,
)
from initium.tree import Slot, Tree


@dataclass(frozen=True, eq=False)
class Meshes:
    """The meshes that a model is sharded over.

    Attributes:
        dense: of what is no expert: copies, shards, tensor parallel.
        expert: the same with a dimension for experts; without `ep`, the dense one.
        roots: the layouts of both.
        data: the names of the dimensions that `fully_shard` takes, of both.
    """

    dense: Any
    expert: Any
    roots: tuple[Layout, ...]
    data: tuple[tuple[str, ...], tuple[str, ...]]


def meshes_of(sizes: Mapping[str, int], roles: Mapping[str, str]) -> Meshes:
    """The device meshes of this rank.

    What is no expert is sharded over `ep`, too, where there are shards at all: its ranks see other
    data, and each would hold the same otherwise.
    """
    shard, copies = roles.get("shard"), roles.get("replicate")
    tensor, expert = roles.get("tensor"), roles.get("expert")
    first = {copies: [copies]} if copies else {}
    last = {tensor: [tensor]} if tensor else {}
    plain = {shard: [shard]} if shard else {}
    apart = {expert: [expert]} if expert else {}
    joined = {f"{shard}_{expert}": [shard, expert]} if shard and expert else {**plain, **apart}
    roots = [layout(sizes, {**first, **joined, **last})]
    if expert:
        roots.append(layout(sizes, {**first, **plain, **apart, **last}))
    made = [root.mesh() for root in roots]
    data = [(*first, *names) if shard else () for names in (joined, plain)]
    return Meshes(made[0], made[-1], tuple(roots), (data[0], data[1]))


def shard_model(
    model: nn.Module,
    sizes: Mapping[str, int],
    roles: Mapping[str, str],
    plan: Mapping[str, str] | None = None,
) -> tuple[Layout, ...]:
    """Shard a model on `meta` in place, as this rank of the (pretended) process group has it.

    Args:
        model: on `meta`.
        sizes: of the mesh.
        roles: of its dimensions (see `roles_of`).
        plan: for `tp`; None: the model's own.

    Returns:
        how ranks lie along the dimensions of the meshes that its tensors are on.

    Raises:
        InitError: it cannot be sharded so.
    """
    if plan is not None and "tensor" not in roles:
        raise InitError("a tensor-parallel plan is given, but the mesh has no dimension tp")
    meshes, tree = meshes_of(sizes, roles), Tree(model)
    split = _tensor_styles(model, tree, sizes, roles, plan)
    stacked = experts(model, tree.parameters) if "expert" in roles else {}
    for slot in tree.parameters:
        along = {}
        if slot in stacked:
            _check_experts(slot, sizes[roles["expert"]])
            along[roles["expert"]] = placement(stacked[slot], slot)
        if slot in split:
            along[roles["tensor"]] = placement(split[slot], slot)
        _place(slot, meshes.expert if slot in stacked else meshes.dense, along)
    _fully_shard(model, meshes, {id(slot.owner) for slot in stacked})
    return meshes.roots


def _tensor_styles(
    model: nn.Module,
    tree: Tree,
    sizes: Mapping[str, int],
    roles: Mapping[str, str],
    plan: Mapping[str, str] | None,
) -> dict[Slot, str]:
    if "tensor" not in roles:
        return {}
    wanted = tensor_plan(model) if plan is None else read_plan(plan)
    styles = matched(wanted, tree.parameters, strict=plan is not None)
    check_heads(model, styles, sizes[roles["tensor"]])
    return styles


def _check_experts(slot: Slot, n: int) -> None:
    if slot.tensor.shape[0] % n:
        fit = [str(d) for d in range(1, slot.tensor.shape[0] + 1) if slot.tensor.shape[0] % d == 0]
        raise InitError(
            f"{slot.name}: ep={n} does not divide its {slot.tensor.shape[0]} experts; ep can be "
            f"{', '.join(fit)}"
        )


def _place(slot: Slot, mesh: Any, along: Mapping[str, Any]) -> None:
    """Make a parameter a DTensor over the dimensions of a mesh that shard it; ties stay ties."""
    from torch.distributed.tensor import distribute_tensor

    cut = {name: where for name, where in along.items() if not where.is_replicate()}
    if not cut:
        return
    names = tuple(name for name in mesh.mesh_dim_names if name in cut)
    part = mesh[names if len(names) > 1 else names[0]]
    where = [cut[name] for name in names]
    old = slot.tensor
    spread = distribute_tensor(old.detach(), part, where, src_data_rank=None)
    new = nn.Parameter(spread, requires_grad=old.requires_grad)
    for place in slot.places():
        place.owner.register_parameter(place.local, new)


def _fully_shard(model: nn.Module, meshes: Meshes, owners: set[int]) -> None:
    """FSDP2 on the experts, on every block and on the model, from the inside to the outside."""
    from torch.distributed.fsdp import fully_shard

    dense, expert = meshes.data
    if not dense:
        return
    blocks = {id(b) for m in model.modules() if isinstance(m, nn.ModuleList) for b in m}
    for module in reversed(list(model.modules())):
        is_block = id(module) in blocks and not isinstance(module, (nn.ModuleList, nn.ModuleDict))
        if id(module) in owners or is_block or module is model:
            names = expert if id(module) in owners else dense
            mesh = (meshes.expert if id(module) in owners else meshes.dense)[names]
            chosen = _dimension(mesh.shape[-1], id(module) in owners)
            fully_shard(module, mesh=mesh, shard_placement_fn=chosen)


def _dimension(n: int, is_expert: bool) -> Callable[[nn.Parameter], Any]:
    """Which dimension `fully_shard` cuts: the first, unless that does not work out.

    A rank has few whole experts: of stacked experts that are fewer than n, another dimension is cut.
    Nor does torch say rightly where the parts of a packed dimension are once it is cut again.
    """
    from torch.distributed.tensor import Shard

    def chosen(parameter: nn.Parameter) -> Any:
        here = _local_shape(parameter)
        packed = {p.dim for p in getattr(parameter, "placements", ()) if hasattr(p, "split_factor")}
        if not here or (0 not in packed and (not is_expert or here[0] >= n)):
            return None
        free = [d for d in range(1, len(here)) if d not in packed and here[d] % n == 0]
        if 0 in packed and not free:
            raise InitError(
                f"a packed parameter of shape {list(parameter.shape)} is cut over tp along its "
                f"first dimension, and no other one can be cut into {n} equal shards"
            )
        return Shard(free[0]) if free else None

    return chosen


def _local_shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(memory_of(tensor).shape)
