"""Parameters that torch's first FSDP has flattened, whose shapes are not those of the model."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from torch import nn

from initium.errors import InitError


def check_not_flat(model: nn.Module) -> None:
    """Raise where `FullyShardedDataParallel` has flattened and cut parameters of a model.

    No initializer would fill them right: fans, orthogonality and streams go by the shape. Within
    `summon_full_params` they have it, and with one rank and `use_orig_params`.

    Raises:
        InitError: naming a parameter, and what to do.
    """
    if "torch.distributed.fsdp" not in sys.modules:
        return  # nobody has wrapped anything
    name = next(_flat(model), None)
    if name is not None:
        raise InitError(
            f"{name}: FullyShardedDataParallel has flattened and cut it, so that it has lost its "
            "shape. Build the model on meta and wrap it with FullyShardedDataParallel(model, "
            "param_init_fn=initium.fsdp1.param_init_fn(model)); or initialize it before it is "
            "wrapped, or within FullyShardedDataParallel.summon_full_params(model), where each rank "
            "needs memory for all of it. Models of fully_shard, the second FSDP, are taken as they "
            "are"
        )


def _flat(model: nn.Module) -> Iterator[str]:
    from torch.distributed.fsdp import FlatParameter, FullyShardedDataParallel

    for unit in FullyShardedDataParallel.fsdp_modules(model):
        for flat in unit.params:
            # with use_orig_params, the model's own parameters are views of this rank's part
            views = zip(flat._fqns, flat._params or (), flat._shapes, strict=False)
            yield from (name for name, own, shape in views if own.shape != shape)
    for name, parameter in model.named_parameters():
        if isinstance(parameter, FlatParameter):
            yield name
