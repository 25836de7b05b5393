"""Moving a model's tensors, without their values, to another device or dtype: `meta` and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from initium.errors import InitError, InitTypeError, listing
from initium.record import is_plain
from initium.report import log
from initium.tree import is_lazy

NEW = (
    "these tensors are new objects in the model, since something has weak references to the old ones, "
    "so that torch cannot exchange what is behind them: {}. What holds the old ones, as an optimizer "
    "that was made before, must be made again"
)


def place(
    model: nn.Module,
    device: torch.device | str | None,
    dtype: torch.dtype | None = None,
    only_meta: bool = False,
) -> list[str]:
    """Give every parameter and buffer new memory, on another device or of another dtype.

    Values are not carried over. Tensors that share memory go on sharing it; the tensors stay the
    same objects, where torch can exchange what is behind them, with their attributes.

    Args:
        model: whose tensors are moved.
        device: where to; None: where each is; with `only_meta`, torch's default device, or that of
            a DTensor's mesh.
        dtype: of floating-point tensors from then on; None: theirs.
        only_meta: leave tensors alone that have memory.

    Returns:
        the names of those that are new objects (see `warn_of_new`).
    """
    storages: dict[tuple[int, torch.dtype], Tensor] = {}
    moved: dict[int, Tensor] = {}
    new: list[str] = []
    with _flat_weights_anew(model):
        for module, holder, local, tensor in list(_places(model)):
            if only_meta and not tensor.is_meta:
                continue
            if id(tensor) not in moved:
                target = _target(tensor, device, only_meta)
                wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
                if (target, wanted) == (tensor.device, tensor.dtype):
                    continue
                moved[id(tensor)] = _exchanged(tensor, _new(tensor, target, wanted, storages))
                new += [] if moved[id(tensor)] is tensor else [f"{type(module).__name__}.{local}"]
            holder[local] = moved[id(tensor)]
    return new


def warn_of_new(names: list[str]) -> None:
    """Name the tensors that could not stay the same objects; once they have values, or will have."""
    if names:
        log.warn([NEW.format(listing(names))])


@contextmanager
def _flat_weights_anew(model: nn.Module) -> Iterator[None]:
    """Have recurrent layers let go of their parameters, and take them up again, as in a move.

    They keep weak references, of which torch exchanges nothing, and a list that their forward uses.
    """
    recurrent = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    for layer in recurrent:
        layer._flat_weight_refs = []
    yield
    for layer in recurrent:
        layer._init_flat_weights()


def check_place(device: object, dtype: object = None) -> None:
    """Raise where a model cannot be moved to a device, or its values be of a dtype.

    >>> check_place("nowhere")
    Traceback (most recent call last):
    initium.errors.InitError: device 'nowhere' cannot be used here: ...
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InitTypeError(
            f"dtype must be a torch.dtype of floating point, as torch.bfloat16, but got {dtype!r}"
        )
    if device is None:
        return
    try:
        torch.empty(0, device=device)  # type: ignore[call-overload]  # whatever a user says
    except Exception as error:  # of many kinds
        said = str(error).partition("\n")[0]
        raise InitError(f"device {device!r} cannot be used here: {said}") from None


def _target(tensor: Tensor, device: torch.device | str | None, only_meta: bool) -> torch.device:
    if device is not None:
        return torch.device(device)
    if not only_meta:
        return tensor.device
    if hasattr(tensor, "device_mesh"):
        return torch.device(tensor.device_mesh.device_type)
    return torch.get_default_device()


def _places(model: nn.Module) -> Iterator[tuple[nn.Module, dict[str, Any], str, Tensor]]:
    for module in model.modules():
        holders: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for holder in holders:
            for local, tensor in holder.items():
                if tensor is not None and not is_lazy(tensor):
                    yield module, holder, local, tensor


def _new(
    tensor: Tensor,
    device: torch.device,
    dtype: torch.dtype,
    storages: dict[tuple[int, torch.dtype], Tensor],
) -> Tensor:
    """A tensor like this one, in new memory that is shared as its own is."""
    if not is_plain(tensor):
        return torch.empty_like(tensor, device=device, dtype=dtype)
    storage = tensor.untyped_storage()
    at = storage._cdata, dtype
    if at not in storages:
        n = storage.nbytes() // tensor.element_size()
        storages[at] = torch.empty(n, dtype=dtype, device=device)
    return storages[at].as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _exchanged(tensor: Tensor, new: Tensor) -> Tensor:
    """The same object with other memory behind it; a new one of its class where that cannot be."""
    if isinstance(tensor, nn.Parameter):
        replacement: Tensor = nn.Parameter(new, requires_grad=tensor.requires_grad)
    else:
        replacement = new.detach().requires_grad_(tensor.requires_grad)
    replacement.__class__ = type(tensor)  # parameters may be of a class of their own
    replacement.__dict__.update(tensor.__dict__)
    try:
        torch.utils.swap_tensors(tensor, replacement)  # type: ignore[no-untyped-call]
    except RuntimeError:  # something else holds on to what is behind it
        return replacement
    return tensor
