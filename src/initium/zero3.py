"""Parameters that DeepSpeed's ZeRO-3 has cut: each rank holds a slice of the flattened tensor.

`deepspeed.zero.Init` leaves a parameter empty, and hangs on it what is read here: `ds_shape` and
`ds_numel` of the whole, `ds_tensor`, the slice of this rank, which is padded to the same length on
all of them, `ds_status`, and the process group of the ranks. DeepSpeed itself is not imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from initium.errors import InitError, InitRangeError
from initium.streams import Block


class _Slice(NamedTuple):
    """What a rank holds of a flattened tensor: all slices are of one length, the last is padded."""

    memory: Tensor
    rank: int


def is_partitioned(tensor: Tensor) -> bool:
    """Whether ZeRO-3 looks after a tensor, so that its own shape is not that of the whole.

    >>> import torch
    >>> is_partitioned(torch.zeros(3))
    False
    """
    return hasattr(tensor, "ds_shape")


def groups(param: Any) -> list[Any]:
    """The process groups over which a parameter is cut."""
    found = (getattr(param, f"ds_{name}process_group", None) for name in ("", "zero_param_"))
    return [group for group in found if group is not None]


def check(tensor: Any) -> None:
    """Raise where DeepSpeed would undo what is written to a tensor, or has put it elsewhere.

    Args:
        tensor: any; where DeepSpeed does not look after it, nothing is wrong.

    Raises:
        InitRangeError: a RuntimeError, with the reason and what to do.
    """
    if hasattr(tensor, "_z3_optimizer") or getattr(tensor, "_hp_mapping", None) is not None:
        raise InitRangeError(
            "an optimizer of DeepSpeed keeps a copy of it, which would overwrite the new values at "
            "the first step; initialize the model before deepspeed.initialize"
        )
    reason = _reason(tensor) if is_partitioned(tensor) else ""
    if reason:
        raise InitRangeError(f"it is a ZeRO-3 parameter, and {reason}")


def _reason(param: Any) -> str:
    flat = getattr(param, "ds_tensor", None)
    if flat is None or not all(hasattr(param, f"ds_{name}") for name in ("numel", "status")):
        return (
            "this version of DeepSpeed does not say where its slice is; initialize the model before "
            "deepspeed.zero.Init or deepspeed.initialize takes it"
        )
    if param.ds_status.name == "INFLIGHT":
        return "it is being gathered; initialize the model outside of its forward"
    if str(getattr(flat, "final_location", None)).endswith("nvme"):
        return "its slice is swapped to a disk; initialize the model without offload_param to NVMe"
    if any(part.dtype != param.dtype for part, _ in _slices(param)):
        return (
            f"its slice is quantized ({flat.dtype} in place of {param.dtype}); initialize the model "
            "without zero_quantized_nontrainable_weights"
        )
    return ""


def check_recorded(model: nn.Module) -> None:
    """Raise where ZeRO-3 has cut parameters while a recorder listened to the constructor.

    It replaces what the constructor has written by what the first rank has.

    Raises:
        InitError: naming one, and what to do.
    """
    for name, parameter in model.named_parameters():
        if is_partitioned(parameter):
            raise InitError(
                f"{name}: deepspeed.zero.Init has cut it within the constructor, so that what the "
                "constructor writes is lost. Plan the model first: plan = initium.plan_of("
                "initium.build(factory, device='meta')); then make it under deepspeed.zero.Init, "
                "and initium.apply(plan, model)"
            )


def memory_of(param: Any) -> Tensor:
    """The slice of this rank, without the padding."""
    memory, rank = next(_slices(param))
    n = memory.numel()
    return memory[: max(0, min(n, param.ds_numel - rank * n))]


def empty_like(param: Any) -> Tensor:
    """A tensor of the same slices, with memory of its own."""
    made: Any = torch.empty_like(param.data)
    for name in ("shape", "numel", "status", "process_group", "zero_partition_rank"):
        if hasattr(param, f"ds_{name}"):
            setattr(made, f"ds_{name}", getattr(param, f"ds_{name}"))
    made.ds_tensor = torch.empty_like(param.ds_tensor)
    return cast(Tensor, made)


def pieces(param: Any) -> list[tuple[Tensor, Block]]:
    """The memory of this rank, as parts of the whole: each contiguous, with its place.

    A parameter that is gathered right now has its whole as well, which is the first; values go to
    both, so that they stay whatever DeepSpeed does with the whole afterwards. What hpZeRO keeps a
    second time comes last.

    Args:
        param: that `check` has found fit.
    """
    shape = tuple(param.ds_shape)
    found = []
    if param.ds_status.name == "AVAILABLE":
        found.append((param.data, Block(shape, (0,) * len(shape), shape)))
    for memory, rank in _slices(param):
        first = rank * memory.numel()
        for block in boxes_of_range(shape, first, min(first + memory.numel(), param.ds_numel)):
            at = _index(block) - first
            found.append((memory[at : at + block.numel].view(block.shape), block))
    return found


def _slices(param: Any) -> Iterator[_Slice]:
    rank = getattr(param, "ds_zero_partition_rank", None)  # earlier versions do not say it
    yield _Slice(
        param.ds_tensor.detach(), dist.get_rank(param.ds_process_group) if rank is None else rank
    )
    second = getattr(param, "ds_secondary_tensor", None)
    if second is not None:
        yield _Slice(second.detach(), dist.get_rank(param.ds_zero_param_process_group))


def boxes_of_range(shape: tuple[int, ...], first: int, end: int) -> list[Block]:
    """The elements from `first` up to `end`, in row-major order, as boxes of a tensor.

    They follow each other, each is contiguous in the flattened tensor, and there are at most
    2 · dimensions - 1 of them: up to the end of a row, of a matrix of rows and so on, then down.

    >>> [(box.start, box.shape) for box in boxes_of_range((4, 5), 3, 17)]
    [((0, 3), (1, 2)), ((1, 0), (2, 5)), ((3, 0), (1, 2))]
    """
    steps = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    found = []
    while first < end:
        box = _largest(shape, steps, first, end)
        found.append(box)
        first += box.numel
    return found


def _largest(shape: tuple[int, ...], steps: list[int], first: int, end: int) -> Block:
    """The largest box of `boxes_of_range` that begins at `first`."""
    start = tuple(first // step % size for step, size in zip(steps, shape, strict=True))
    for d, step in enumerate(steps):
        # the outermost dimension of which a whole step starts here and still fits
        if first % step == 0 and first + step <= end:
            n = min((end - first) // step, shape[d] - start[d])
            return Block(shape, start, (*(1,) * d, n, *shape[d + 1 :]))
    return Block(shape, start, ())  # a scalar


def _index(block: Block) -> int:
    """The index of a box's first element in the flattened tensor."""
    index = 0
    for size, i in zip(block.of, block.start, strict=True):
        index = index * size + i
    return index
