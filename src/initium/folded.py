"""Tensors with several elements in one place of memory, as `expand` makes them, and their values."""

from __future__ import annotations

import torch
from torch import Tensor

from initium.errors import InitRangeError
from initium.streams import check_memory


def is_folded(tensor: Tensor) -> bool:
    """Whether a plain tensor has several elements in one place of its memory.

    >>> is_folded(torch.zeros(3, 1).expand(3, 4)), is_folded(torch.zeros(3, 4).T)
    (True, False)
    """
    if tensor.is_contiguous():
        return False
    try:
        check_memory(tensor)
    except InitRangeError:
        return True
    return False


def copy_into(memory: Tensor, values: Tensor) -> None:
    """Write values to memory, folded or not; those of elements in one place are the same.

    >>> rows = torch.zeros(2, 1).expand(2, 3)
    >>> copy_into(rows, torch.tensor([[1.0, 1, 1], [2, 2, 2]]))
    >>> rows
    tensor([[1., 1., 1.],
            [2., 2., 2.]])
    """
    if not is_folded(memory):
        memory.copy_(values)
        return
    places = _places(memory)
    flat = memory.as_strided((int(places.max()) + 1,), (1,))  # from its first element on
    _bytes(flat)[places.to(memory.device)] = _bytes(values.to(memory.device, memory.dtype))


def check_foldable(tensor: Tensor, values: Tensor) -> None:
    """Raise an `InitRangeError` where a folded tensor would need two values in one place."""
    places = _places(tensor)
    elements = _bytes(values.cpu())
    flat = elements.new_empty(int(places.max()) + 1, elements.shape[1])
    flat[places] = elements
    if not torch.equal(flat[places], elements):
        raise InitRangeError(
            "several elements of this tensor share their memory (it is expanded, or a view with "
            "overlapping strides), but their values differ; give it a clone()"
        )


def _bytes(tensor: Tensor) -> Tensor:
    """The bytes of each element: not every dtype can be indexed, and NaN be compared."""
    return tensor.flatten().view(torch.uint8).view(tensor.numel(), tensor.element_size())


def _places(tensor: Tensor) -> Tensor:
    """Where the elements lie, counted from the first."""
    places = torch.zeros(tensor.shape, dtype=torch.int64, device="cpu")
    for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        steps = torch.arange(size, device="cpu") * stride
        places += steps.view(-1, *[1] * (tensor.dim() - dim - 1))
    return places.flatten()
