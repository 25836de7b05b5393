"""The tensors that the pickle in a file of torch.save describes; none is read.

The functions named here, and their arguments, are those of torch/_utils.py and torch/_tensor.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from initium.checkpoint.entry import Entry, Unreadable
from initium.checkpoint.formats.storages import Storage, numbers
from initium.checkpoint.formats.values import Global
from initium.checkpoint.region import Region
from initium.errors import InitError

_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_QUANTISED = (torch.qint8, torch.qint32, torch.quint8, torch.quint4x2, torch.quint2x4)
UNKNOWN = torch.float32  # the dtype of what cannot be read and does not say
_ON_META = "it was saved on meta, without values"


def _dtype(named: Any) -> torch.dtype | None:
    return _DTYPES.get(named.name) if isinstance(named, Global) else None


def _unreadable(reason: str, shape: Any = (), dtype: torch.dtype | None = None) -> Unreadable:
    return Unreadable(numbers(shape), dtype or UNKNOWN, "a tensor", reason)


def _tensor(args: tuple[Any, ...]) -> Entry:
    storage, offset, size, stride = args[:4]
    if not isinstance(storage, Storage):
        return _unreadable("its storage is not in the file", size)
    return _region(storage, storage.dtype, offset, numbers(size), numbers(stride))


def _tensor_v2(args: tuple[Any, ...]) -> Entry:
    return _with_bits(_tensor(args), args[6:])


def _tensor_v3(args: tuple[Any, ...]) -> Entry:
    storage, offset, size, stride = args[:4]
    dtype = _dtype(args[6])
    if dtype is None or not isinstance(storage, Storage):
        return _unreadable("this version of torch does not know its dtype", size)
    entry = _region(storage, dtype, offset, numbers(size), numbers(stride))
    return _with_bits(entry, args[7:])


def _region(
    storage: Storage,
    dtype: torch.dtype,
    offset: Any,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
) -> Entry:
    if storage.location == "meta":
        return _unreadable(_ON_META, shape, dtype)
    if dtype in _QUANTISED:
        return _unreadable(f"it is quantised ({dtype})", shape, dtype)
    start, end = _extent(shape, stride, numbers((offset,))[0])
    if end * dtype.itemsize > storage.nbytes:
        raise InitError(
            f"a tensor of the shape {list(shape)} does not fit into its storage of "
            f"{storage.nbytes} bytes; the file is damaged"
        )
    place = storage.offset + start * dtype.itemsize
    steps = None if _contiguous(shape, stride) else stride
    return Region(storage.blob, place, shape, dtype, storage.blob.name, steps)


def _extent(shape: tuple[int, ...], stride: tuple[int, ...], offset: int) -> tuple[int, int]:
    """The first element of the storage that a tensor uses, and the one behind the last."""
    if len(shape) != len(stride):
        raise InitError("a tensor whose shape and stride differ in length; the file is damaged")
    if math.prod(max(1, length) for length in shape) >= 2**63:
        raise InitError("a tensor with more elements than can be counted; the file is damaged")
    if 0 in shape:
        return 0, 0
    last = sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    return offset, offset + last + 1


def _contiguous(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = 1
    for length, step in zip(reversed(shape), reversed(stride), strict=True):
        if length != 1 and step != expected:
            return 0 in shape
        expected *= length
    return True


def _with_bits(entry: Entry, metadata: tuple[Any, ...]) -> Entry:
    bits = metadata[0] if metadata else {}
    if not bits or (isinstance(bits, dict) and not any(value is True for value in bits.values())):
        return entry
    return _unreadable("its values are stored conjugated or negated", entry.shape, entry.dtype)


def _from_type(args: tuple[Any, ...]) -> Any:
    """A tensor with attributes, or of a subclass: the plain tensor beneath."""
    maker, _, inner, _ = args
    name = maker.name if isinstance(maker, Global) else ""
    if not isinstance(inner, tuple) or "_rebuild_from_type" in name:
        raise InitError("a tensor of a subclass whose maker is not described; the file is damaged")
    return rebuild(name, inner)


def _from_cpu(args: tuple[Any, ...]) -> Any:
    data, dtype = args[:2]
    if isinstance(data, Entry) and data.dtype == _dtype(dtype):
        return data
    return _unreadable("it was saved from a device in another dtype than it has there")


def _quantised(args: tuple[Any, ...]) -> Entry:
    dtype = args[0].dtype if isinstance(args[0], Storage) else None
    return _unreadable(f"it is quantised ({dtype})", args[2], dtype)


def _sparse(args: tuple[Any, ...]) -> Entry:
    parts = args[1] if isinstance(args[1], tuple) else ()
    values = [part for part in parts if isinstance(part, Entry)]
    size = next((part for part in parts if isinstance(part, tuple)), ())
    return _unreadable("it is sparse", size, values[-1].dtype if values else None)


def _nested(args: tuple[Any, ...]) -> Entry:
    return _unreadable("it is nested", (), args[0].dtype if isinstance(args[0], Entry) else None)


def _meta(args: tuple[Any, ...]) -> Entry:
    return _unreadable(_ON_META, args[1], _dtype(args[0]))


def _wrapper(args: tuple[Any, ...]) -> Entry:
    kind, dtype, size = args[:3]
    name = kind.name[:80] if isinstance(kind, Global) else "an unknown class"
    return _unreadable(f"it is a tensor of the subclass {name}", size, _dtype(dtype))


# the maker, and how few and how many arguments it has had over the years
_MAKERS: dict[str, tuple[Callable[[tuple[Any, ...]], Any], int, int]] = {
    "_rebuild_tensor": (_tensor, 4, 4),
    "_rebuild_tensor_v2": (_tensor_v2, 6, 7),
    "_rebuild_tensor_v3": (_tensor_v3, 7, 8),
    "_rebuild_parameter": (lambda args: args[0], 3, 3),
    "_rebuild_parameter_with_state": (lambda args: args[0], 4, 4),
    "_rebuild_from_type": (_from_type, 4, 4),
    "_rebuild_from_type_v2": (_from_type, 4, 4),
    "_rebuild_device_tensor_from_cpu_tensor": (_from_cpu, 4, 4),
    "_rebuild_qtensor": (_quantised, 7, 7),
    "_rebuild_sparse_tensor": (_sparse, 2, 2),
    "_rebuild_nested_tensor": (_nested, 2, 4),
    "_rebuild_meta_tensor_no_storage": (_meta, 4, 4),
    "_rebuild_wrapper_subclass": (_wrapper, 7, 8),
}


def rebuild(name: str, args: tuple[Any, ...]) -> Any:
    """The entry that a call of torch's function `name` stands for; NotImplemented: not a tensor.

    Raises:
        InitError: the arguments make no sense, or the tensor lies outside of its storage.

    >>> rebuild("torch._utils._rebuild_njt", ()).reason
    'it is made by torch._utils._rebuild_njt, which is not known here'
    """
    module, _, function = name.rpartition(".")
    if module in ("torch._utils", "torch._tensor", "torch.tensor") and function in _MAKERS:
        maker, fewest, most = _MAKERS[function]
        if not fewest <= len(args) <= most:
            raise InitError(f"{function} is given {len(args)} arguments; the file is damaged")
        return maker(args)
    if name.startswith("torch.") and function.startswith(("_rebuild_", "Uninitialized")):
        return _unreadable(f"it is made by {name[:80]}, which is not known here")
    return NotImplemented
