"""What a tensor is in memory: where in its storage it lies, which part of another tensor that is."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from initium.writes import Where

_PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})


class Geometry(NamedTuple):
    """The elements of a tensor within a storage; strides and offset count elements."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def of(self, flat: Tensor) -> Tensor:
        """The tensor with this geometry in the storage of `flat`."""
        return flat.as_strided(self.shape, self.stride, self.offset)


def geometry(tensor: Tensor) -> Geometry:
    """Where a tensor lies in its storage."""
    return Geometry(tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))


def covers(tensor: Tensor, nbytes: int) -> bool:
    """Whether a tensor has every byte of a storage of this size, each once."""
    if tensor.numel() * tensor.element_size() != nbytes:
        return False
    if tensor.is_contiguous():
        return True
    reach = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride != reach:
            return False
        reach *= size
    return True


def all_of(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The whole storage of a tensor in one dimension."""
    dtype = dtype or tensor.dtype
    storage = tensor.untyped_storage()
    flat = torch.empty(0, dtype=dtype, device=tensor.device)
    n = storage.nbytes() // dtype.itemsize
    with torch.no_grad():
        return flat.set_(storage, 0, (n,), (1,))


def where_in(part: Geometry, whole: Tensor) -> Where | None:
    """The part of a contiguous tensor as slices; None where it is not one of slices.

    >>> w = torch.zeros(4, 6)
    >>> str(where_in(geometry(w.view(2, 2, 6)[1, :, 2:4]), w))
    '[2:4, 2:4]'
    """
    if not whole.is_contiguous():
        return None
    runs = _runs(part)
    offset = part.offset - whole.storage_offset()
    slices: list[tuple[int, int, int] | None] = []
    for stride, size in reversed(list(zip(whole.stride(), whole.shape, strict=True))):
        first = offset // stride % size
        n, step = 1, 1
        if runs and runs[-1][0] < stride * size:
            step, rest = divmod(runs[-1][0], stride)
            n = runs[-1][1]
            if rest or not step:
                return None
            runs.pop()
            if first + (n - 1) * step >= size:  # it goes on in the next dimension
                if step > 1 or first or n % size:
                    return None
                runs.append((stride * size, n // size))
                n = size
        everything = (first, n, step) == (0, size, 1)
        slices.append(None if everything else (first, first + (n - 1) * step + 1, step))
    if runs or offset < 0:
        return None
    slices.reverse()
    while slices and slices[-1] is None:
        slices.pop()
    return Where(tuple(slices))


def _runs(part: Geometry) -> list[tuple[int, int]]:
    """(stride, size) of its dimensions, the widest stride first, those that follow on merged."""
    runs: list[tuple[int, int]] = []
    for stride, size in sorted(zip(part.stride, part.shape, strict=True)):
        if size == 1:
            continue
        if runs and runs[-1][0] * runs[-1][1] == stride:
            runs[-1] = (runs[-1][0], runs[-1][1] * size)
        else:
            runs.append((stride, size))
    return runs[::-1]


def is_all(tensor: Tensor) -> bool:
    """Whether a tensor is its storage, in row-major order."""
    return tensor.is_contiguous() and covers(tensor, tensor.untyped_storage().nbytes())


def is_plain(tensor: Any) -> bool:
    """Whether a tensor is ordinary memory, seen as it is."""
    kind: Any = type(tensor)
    return (
        (kind in _PLAIN or _is_plain_class(kind))
        and tensor.layout is torch.strided
        and not (tensor.is_quantized or tensor.is_nested or tensor.is_neg() or tensor.is_conj())
    )


@cache
def _is_plain_class(kind: Any) -> bool:
    """Whether a class derived from torch's changes nothing about memory."""
    lazy = (UninitializedBuffer, UninitializedParameter)
    return issubclass(kind, Tensor) and not issubclass(kind, lazy) and not dispatches(kind)


def dispatches(kind: Any) -> bool:
    """Whether a class of tensors has operations of its own below those of Python."""
    off: Any = torch._C._disabled_torch_dispatch_impl
    return kind.__torch_dispatch__ is not off


def meet(one: Geometry, other: Geometry) -> bool:
    """Whether what two tensors reach of a storage, from end to end, has elements in common."""
    (low, high), (first, last) = _range(one), _range(other)
    return low <= last and first <= high


def inside(one: Geometry, other: Geometry) -> bool:
    """Whether one reaches no element beyond what the other reaches."""
    (low, high), (first, last) = _range(one), _range(other)
    return first <= low and high <= last


def overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors in one storage share elements.

    Two that both have gaps may lie between each other, as the columns of a matrix do: they do not.

    >>> w = torch.zeros(4, 6)
    >>> overlap(w, w[1:3]), overlap(w[:2], w[2:]), overlap(w[:, :2], w[:, 2:])
    (True, False, False)
    """
    dense = one.is_contiguous() or other.is_contiguous()
    return dense and bool(one.numel() and other.numel()) and meet(_bytes(one), _bytes(other))


def _bytes(tensor: Tensor) -> Geometry:
    size = tensor.element_size()
    first, last = _range(geometry(tensor))
    return Geometry(((last - first + 1) * size,), (1,), first * size)


def _range(part: Geometry) -> tuple[int, int]:
    """The first and last element of a storage that a tensor reaches."""
    reach = sum((n - 1) * s for n, s in zip(part.shape, part.stride, strict=True) if n)
    return part.offset, part.offset + reach
