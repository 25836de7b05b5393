"""Model + config -> a seed checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Shard, distribute_tensor

from initium.apply import initialize
from initium.building import build
from initium.cluster import Ranks
from initium.config import InitCfg
from initium.errors import InitError, listing
from initium.files import save_model
from initium.materializing import materialize
from initium.planning import plan_of
from initium.report import Report
from initium.seeding.folder import check_folder, write_folder
from initium.seeding.processes import processes, terminable, world
from initium.seeds import fresh_seed
from initium.streams import Seed, check_rng
from initium.tree import Tree, is_lazy


def write_start(
    factory: Callable[[], nn.Module],
    read_cfg: Callable[[], InitCfg],
    out: str | os.PathLike[str],
    *,
    seed: Seed | None = None,
    rng: str = "philox",
    strict: bool = False,
    force: bool = False,
) -> Report | None:
    """Write the start of a model; no process needs to hold the whole of it.

    Under `torchrun`, or in a process group that is there, all ranks call it: each fills its share,
    and writes that. Tensors and names are those of `model.state_dict()`, with the same bits on any
    number of ranks. Everything is written, or nothing: what fails on one rank fails on all.

    Args:
        factory: makes the model.
        read_cfg: gives the `init_cfg`.
        out: a `.safetensors` file, which one process alone writes; or a folder of
            `torch.distributed.checkpoint`, with the plan in it as `plan.json`.
        seed: None draws one.
        rng: `'torch'`: the constructor runs as it is, and torch's own functions carry out the
            config; for one process alone.
        strict: as in `initium.build`.
        force: replace a file, or a folder of `torch.distributed.checkpoint`, that is there.

    Returns:
        what happened to every tensor; None on all ranks but the first.

    Raises:
        InitError: something of that cannot be done; `out` is as it was before.
    """
    path = Path(out).absolute()

    def made(mesh: DeviceMesh | None, ranks: Ranks) -> tuple[nn.Module, Report]:
        drawn = fresh_seed() if rng == "philox" and seed is None else seed
        with ranks.together():
            cfg = read_cfg()
            if rng == "torch":
                _check_shapes(model := factory())
                return model, initialize(model, cfg, seed=drawn, rng=rng, strict=strict)
            model = build(factory, seed=drawn, init_cfg=cfg, strict=strict, device="meta")
            _check_shapes(model)
        ranks.agree(plan_of(model).digest, plan_of(model).said)
        if mesh is not None:
            _spread(model, mesh)
        return model, materialize(model, device="cpu")

    check_rng(rng, seed)
    _check_ending(path)
    if path.suffix == ".safetensors":
        if path.exists() and not force:
            raise InitError(f"{path} is there already; say --force to replace it")
        model, report = made(None, Ranks([]))
        save_model(model, path)
        return report
    with terminable(), processes() as mesh:
        ranks = Ranks(mesh.get_all_groups())
        with ranks.together():
            check_folder(path, force)
            _check_rng(rng, mesh.size())
        model, report = made(mesh, ranks)
        write_folder(model, path, ranks)
        return report if dist.get_rank() == 0 else None


def _check_shapes(model: nn.Module) -> None:
    lazy = [slot.name for slot in Tree(model).slots if is_lazy(slot.tensor)]
    if lazy:
        raise InitError(
            f"{listing(lazy)}: no shape yet, so there is nothing to write; have the target run the "
            "model once, so that its lazy modules know theirs"
        )


def _check_ending(path: Path) -> None:
    if path.suffix == ".safetensors" and world() > 1:
        raise InitError(
            f"{path} is one file, which {world()} ranks cannot write together; give a folder, a name "
            "without an ending, or start one process alone"
        )
    # a folder may be called step_0.5
    if path.suffix != ".safetensors" and any(letter.isalpha() for letter in path.suffix):
        raise InitError(
            f"cannot write {path}: give a .safetensors file, or a name without an ending for a folder "
            "of torch.distributed.checkpoint; initium convert makes other files of them"
        )


def _check_rng(rng: str, world: int) -> None:
    if rng == "torch" and world > 1:
        raise InitError(
            f"rng='torch' draws whole tensors one after the other, which {world} ranks cannot share; "
            "leave --rng out, or start one process alone"
        )


def _spread(model: nn.Module, mesh: DeviceMesh) -> None:
    """Have each rank hold its share of every tensor on `meta` that is long enough to be cut."""
    for slot in Tree(model).slots:
        cut = next((d for d, n in enumerate(slot.tensor.shape) if n >= mesh.size()), None)
        if mesh.size() == 1 or cut is None or not slot.tensor.is_meta:
            continue
        spread = distribute_tensor(slot.tensor.detach(), mesh, [Shard(cut)], src_data_rank=None)
        for place in slot.places():
            if slot.is_buffer:
                place.owner._buffers[place.local] = spread
            else:
                place.owner._parameters[place.local] = nn.Parameter(
                    spread, requires_grad=slot.tensor.requires_grad
                )
