"""What a tensor-parallel or expert-parallel plan says of parameters, as placements of torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from torch import nn

from initium.errors import InitError, InitTypeError, did_you_mean, listing, located
from initium.selectors import compile_pattern, matches
from initium.tree import Slot

# The words of transformers, by what they do to parameters. A bias is cut with the outputs.
_OUTPUTS = ("colwise", "colwise_gather_output", "colwise_rep")
_INPUTS = ("rowwise", "rowwise_split_input", "rowwise_rep")
_PACKED_OUTPUTS, _PACKED_INPUTS = "packed_colwise", "packed_rowwise"
_FIRST, _SECOND = ("embedding_rowwise", "grouped_gemm"), ("embedding_colwise",)
_WHOLE = (
    "replicate", "replicated_with_grad_allreduce", "sequence_parallel", "mla_kv_a_proj",
    "all_reduce", "moe_tp_experts", "moe_identity_expert", "local_params", "ep_dispatch_experts",
    "gather", "ep_router",
)  # fmt: skip
STYLES = (*_OUTPUTS, *_INPUTS, _PACKED_OUTPUTS, _PACKED_INPUTS, *_FIRST, *_SECOND, *_WHOLE)
_SHARD = re.compile(r"shard\((\d+)\)")
# the projections whose outputs are heads, and the config's number of these heads
_HEADS = {"q_proj": "num_attention_heads"} | dict.fromkeys(
    ("k_proj", "v_proj"), "num_key_value_heads"
)


def tensor_plan(model: nn.Module) -> dict[str, str]:
    """The plan of a model for tensor parallelism: its own, or that of its config.

    Raises:
        InitError: it has none.
    """
    own = getattr(model, "tp_plan", None)
    if not isinstance(own, Mapping) or not own:
        own = getattr(getattr(model, "config", None), "base_model_tp_plan", None)
    if not isinstance(own, Mapping) or not own:
        raise InitError(
            f"{type(model).__name__} has no plan for tensor parallelism (tp_plan, or "
            "config.base_model_tp_plan), which a mesh with tp needs; give one by --tp-plan FILE: "
            "name patterns with colwise, rowwise, shard(dim) or replicate"
        )
    return {str(pattern): str(style) for pattern, style in own.items()}


def read_plan(plan: Any) -> dict[str, str]:
    """A plan that was given by the user, checked.

    Raises:
        InitTypeError: a TypeError; it is no mapping of name patterns to styles.
        InitError: it names a style that is not known.
    """
    if not isinstance(plan, Mapping) or not all(
        isinstance(x, str) for i in plan.items() for x in i
    ):
        raise InitTypeError(
            f"a tensor-parallel plan must map name patterns to styles, as "
            f"{{'**.up_proj': 'colwise'}}, but got {plan!r}"
        )
    for pattern, style in plan.items():
        with located(f"tensor-parallel plan, {pattern}"):
            _check(style)
            compile_pattern(pattern)
    return dict(plan)


def _check(style: str) -> None:
    if style not in STYLES and not _SHARD.fullmatch(style):
        allowed = ["shard(0)", *STYLES]
        raise InitError(
            f"{style!r} is no style.{did_you_mean(style, allowed)} There are: {listing(allowed, 40)}"
        )


def matched(
    plan: Mapping[str, str], slots: Iterable[Slot], strict: bool = False
) -> dict[Slot, str]:
    """The style of each parameter that the plan names, itself or the module that holds it.

    Args:
        plan: a later pattern wins; one on the parameter's own name wins over one on its module's.
        slots: of the model.
        strict: a pattern that matches nothing is an error.
    """
    compiled = {pattern: compile_pattern(pattern) for pattern in plan}
    found: dict[Slot, str] = {}
    used = set()
    everything = list(slots)
    for name_of in (_module_of, _path_of):
        for pattern, regex in compiled.items():
            for slot in everything:
                if any(matches(regex, name_of(place)) for place in slot.places()):
                    found[slot] = plan[pattern]
                    used.add(pattern)
    unused = [pattern for pattern in plan if pattern not in used]
    if strict and unused:
        raise InitError(
            f"patterns of the tensor-parallel plan match no parameter: {listing(unused)}; there are "
            f"{listing((slot.path for slot in everything), 6)}"
        )
    return found


def _module_of(place: Slot) -> str:
    return place.path.rpartition(".")[0] or "."


def _path_of(place: Slot) -> str:
    return place.path


def placement(style: str, slot: Slot) -> Any:
    """Where a parameter of this style lies along one mesh dimension.

    Raises:
        InitError: it has no such dimension, or the style is not known.
    """
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    _check(style)
    n, shard = slot.tensor.dim(), _SHARD.fullmatch(style)
    whole: Callable[[int], Any] = Shard
    strided: Callable[[int], Any] = partial(_StridedShard, split_factor=2)
    if shard is None and (style in _WHOLE or n == 0):
        return Replicate()
    if shard is not None:
        dim, cut = int(shard[1]), whole
    elif style in _INPUTS or style == _PACKED_INPUTS:
        if n == 1:  # a bias, which is added once
            return Replicate()
        dim, cut = n - 1, strided if style == _PACKED_INPUTS else whole
    elif style in _OUTPUTS or style == _PACKED_OUTPUTS:
        packed = style == _PACKED_OUTPUTS and n > 1
        dim, cut = max(n - 2, 0), strided if packed else whole
    else:
        dim, cut = int(style in _SECOND), whole
    if dim >= n:
        raise InitError(
            f"{slot.name}: {style} shards dimension {dim}, but its shape is "
            f"{list(slot.tensor.shape)}; its dimensions are counted from 0"
        )
    return cut(dim)


def check_heads(model: nn.Module, styles: Mapping[Slot, str], n: int) -> None:
    """Raise where attention heads would be cut: no rank could compute with a part of one."""
    for slot, style in styles.items():
        layer = slot.path.rpartition(".")[0].rpartition(".")[2]
        config = getattr(model, "config", None)
        heads = getattr(config, _HEADS.get(layer, ""), None)
        if style in _OUTPUTS and isinstance(heads, int) and heads % n:
            fit = [size for size in range(1, heads + 1) if heads % size == 0]
            raise InitError(
                f"{slot.name}: tp={n} does not divide its {heads} heads "
                f"(config.{_HEADS[layer]}); tp can be {listing(map(str, fit))}"
            )


def experts(model: nn.Module, slots: Iterable[Slot]) -> dict[Slot, str]:
    """The stacked experts of a model: by its own expert-parallel plan, else by name and shape.

    Raises:
        InitError: there are none.
    """
    everything = list(slots)
    own = getattr(model, "ep_plan", None)
    if isinstance(own, Mapping) and own:
        styles = matched(own, everything)
        found = {slot: s for slot, s in styles.items() if slot.tensor.dim() and s in _FIRST}
    else:
        stacks = {id(s.owner): len(s.tensor) for s in everything if _is_expert(s)}
        found = {
            s: "grouped_gemm"
            for s in everything
            if s.tensor.dim() and stacks.get(id(s.owner)) == len(s.tensor)
        }
    if not found:
        raise InitError(
            f"{type(model).__name__} has no stacked experts (parameters of 3 dimensions in a module "
            "named experts, or an ep_plan), which a mesh with ep needs"
        )
    return found


def _is_expert(slot: Slot) -> bool:
    """Whether these are matrices, stacked; what else the module stacks so (biases) goes along."""
    return slot.tensor.dim() > 2 and any(
        "experts" in segment for segment in slot.path.split(".")[:-1]
    )
