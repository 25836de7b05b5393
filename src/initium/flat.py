"""Parameters that torch's first FSDP has flattened, whose shapes are not those of the model."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from initium.errors import InitError
from initium.tree import Tree


def check_not_flat(tree: Tree) -> None:
    """Raise where `FullyShardedDataParallel` has flattened and cut parameters of a model.

    No initializer would fill them right: fans, orthogonality and streams go by the shape. Within
    `summon_full_params` they have it, and with one rank and `use_orig_params`.

    Raises:
        InitError: naming a parameter, and what to do.
    """
    if "torch.distributed.fsdp" not in sys.modules:
        return  # nobody has wrapped anything
    name = next(_flat(tree), None)
    if name is not None:
        raise InitError(
            f"{name}: FullyShardedDataParallel has flattened and cut it, so that it has lost its "
            "shape. Build the model on meta and wrap it with FullyShardedDataParallel(model, "
            "param_init_fn=initium.fsdp1.param_init_fn(model)); or initialize it before it is "
            "wrapped, or within FullyShardedDataParallel.summon_full_params(model), where each rank "
            "needs memory for all of it. Models of fully_shard, the second FSDP, are taken as they "
            "are"
        )


def _flat(tree: Tree) -> Iterator[str]:
    from torch.distributed.fsdp import FlatParameter, FullyShardedDataParallel

    units = [m for m in tree.modules.values() if isinstance(m, FullyShardedDataParallel)]
    for unit in units:
        for flat in unit.params:
            # with use_orig_params, the model's own parameters are views of this rank's part
            views = zip(flat._fqns, flat._params or (), flat._shapes, strict=False)
            yield from (name for name, own, shape in views if own.shape != shape)
    for slot in tree.slots if units else ():
        if isinstance(slot.tensor, FlatParameter):
            yield slot.name
