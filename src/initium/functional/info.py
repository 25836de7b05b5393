"""`update_init_info`, for code that imports it."""

from __future__ import annotations

from typing import Any

from torch import nn

from initium.errors import InitAssertionError
from initium.here import HERE, unseen


def update_init_info(module: nn.Module, init_info: str) -> None:
    """Credit what was just written below `module` to `init_info` in the log of `init_weights`.

    Within `init_weights` what was written is known. Elsewhere MMEngine's contract holds: the
    module bears a dict `_params_init_info`, whose entries with another mean are updated.

    Raises:
        InitAssertionError: an AssertionError; there is nothing to update, or the module has a
            parameter that is not in its `_params_init_info`.

    >>> update_init_info(nn.Linear(1, 1), "by hand")
    Traceback (most recent call last):
    initium.errors.InitAssertionError: update_init_info works within init_weights only, or on a \
module with a dict `_params_init_info`
    """
    notes: dict[nn.Parameter, dict[str, Any]] | None = getattr(module, "_params_init_info", None)
    if notes is not None:
        _update_notes(module, notes, init_info)
    elif HERE.planner is not None and HERE.planner.tree.has(module):
        with unseen():
            HERE.planner.credit(module, init_info)
    else:
        raise InitAssertionError(
            "update_init_info works within init_weights only, or on a module with a dict "
            "`_params_init_info`"
        )


def _update_notes(
    module: nn.Module, notes: dict[nn.Parameter, dict[str, Any]], init_info: str
) -> None:
    for name, parameter in module.named_parameters():
        if parameter not in notes:
            raise InitAssertionError(
                f"parameter {name} of {type(module).__name__} is not in its _params_init_info: do "
                "not add or replace parameters in init_weights"
            )
        mean = parameter.data.mean().cpu()
        if notes[parameter]["tmp_mean_value"] != mean:
            notes[parameter].update(init_info=init_info, tmp_mean_value=mean)
