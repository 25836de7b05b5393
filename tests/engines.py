"""Ways of spreading a model over ranks, with PyTorch's own engine and nothing else."""

from fnmatch import fnmatch
from operator import attrgetter

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    parallelize_module,
)
from torch.func import functional_call

from families import Family


def ways(world: int) -> dict[str, dict[str, int]]:
    """The ways to spread a model over so many ranks: the sizes of the mesh by dimension."""
    found: dict[str, dict[str, int]] = {
        "FSDP": dict(shard=world),
        "TP": dict(tensor=world),
        "HSDP": dict(copy=min(world, 2), shard=max(world // 2, 1)),
        "TP and FSDP": dict(shard=max(world // 2, 1), tensor=min(world, 2)),
    }
    if world == 8:
        found["TP and HSDP"] = dict(copy=2, shard=2, tensor=2)
    else:
        found["DDP"] = {}
    return found


def mesh_of(sizes: dict[str, int]) -> DeviceMesh:
    """A mesh over all ranks."""
    return init_device_mesh("cpu", tuple(sizes.values()), mesh_dim_names=tuple(sizes))


def spread(model: nn.Module, family: Family, mesh: DeviceMesh | None) -> nn.Module:
    """Spread a model over a mesh, in place, as its dimensions are named."""
    names = () if mesh is None else mesh.mesh_dim_names
    if "tensor" in names:
        cut(model, family, mesh["tensor"])
    data = tuple(name for name in ("copy", "shard") if name in names)
    if data:
        over = mesh[data if len(data) > 1 else data[0]]
        for name, module in model.named_modules():
            if _is(name, family.blocks):
                fully_shard(module, mesh=over)
        fully_shard(model, mesh=over)
    return model


def cut(model: nn.Module, family: Family, mesh: DeviceMesh) -> None:
    """Cut the modules of a model that its family names, and tie again what was tied."""
    for pattern, how in family.cuts.items():
        if isinstance(how, str):
            parallelize_module(model, mesh, {pattern: _style(how)})
        else:
            for name, module in model.named_modules():
                if _is(name, pattern):
                    _gather_own(module, how, mesh)
    for names in family.ties.items():  # torch has given each module parameters of its own
        both = [model.get_parameter(name) for name in names]
        for name in names:
            _set(model, name, next(p for p in both if isinstance(p, DTensor)))


def _is(name: str, pattern: str) -> bool:
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatch, parts, patterns))


def _set(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    owner, _, local = name.rpartition(".")
    setattr(module.get_submodule(owner), local, parameter)


def _style(how: str) -> ParallelStyle:
    whole = Replicate()
    return {
        "column": ColwiseParallel,
        "row": RowwiseParallel,
        "words": lambda: RowwiseParallel(input_layouts=whole),
        "whole column": lambda: ColwiseParallel(output_layouts=whole),
        "whole row": lambda: RowwiseParallel(input_layouts=whole),
    }[how]()


def _gather_own(module: nn.Module, dims: dict[str, int], mesh: DeviceMesh) -> None:
    """Cut parameters of a module that torch has no style for; they are gathered when it runs."""
    for name, dim in dims.items():
        new = distribute_tensor(module.get_parameter(name), mesh, [Shard(dim)], src_data_rank=None)
        _set(module, name, nn.Parameter(new))
    forward = module.forward

    def gathered(*args, **kwargs):
        own = {name: attrgetter(name)(module) for name in dims}
        if not any(isinstance(tensor, DTensor) for tensor in own.values()):
            return forward(*args, **kwargs)  # of the call below
        return functional_call(module, {n: t.full_tensor() for n, t in own.items()}, args, kwargs)

    module.forward = gathered


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every rank."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by all of its names, the buffers that are not saved included."""
    found = dict(model.named_parameters(remove_duplicate=False))
    return found | dict(model.named_buffers(remove_duplicate=False))


def train(model: nn.Module, batch: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> float:
    """One step; the loss before it."""
    optimizer.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    return loss.item()
