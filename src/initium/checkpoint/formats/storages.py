"""The storages that the pickle in a file of torch.save describes; none is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from initium.checkpoint.blob import Blob
from initium.checkpoint.formats.values import Global, Opaque
from initium.errors import InitError

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "QInt8Storage": torch.qint8,
    "QInt32Storage": torch.qint32,
    "QUInt8Storage": torch.quint8,
    "QUInt4x2Storage": torch.quint4x2,
    "QUInt2x4Storage": torch.quint2x4,
    # without a dtype of their own: bytes, until a tensor says what they are
    "UntypedStorage": torch.uint8,
    "_UntypedStorage": torch.uint8,
    "TypedStorage": torch.uint8,
    "_TypedStorage": torch.uint8,
}
_MOST_DIMS = 64


@dataclass(eq=False, slots=True, kw_only=True)
class Storage(Opaque):
    """A stretch of a blob that tensors lie in.

    Attributes:
        blob: the file.
        offset: of its first byte.
        nbytes: its size.
        dtype: of its elements.
        location: the device it was saved from, `meta` when there are no bytes.
    """

    blob: Blob
    offset: int
    nbytes: int
    dtype: torch.dtype
    location: str


@dataclass(frozen=True)
class StorageId:
    """What a pickle says of a storage (its persistent id).

    Attributes:
        key: its name in the file.
        dtype: of its elements.
        location: the device it was saved from.
        nbytes: its size.
        view: where a part of it begins, and its size, in bytes (files from before torch 1.6).
    """

    key: str
    dtype: torch.dtype
    location: str
    nbytes: int
    view: tuple[int, int]

    def storage(self, blob: Blob, offset: int, nbytes: int) -> Storage:
        """The storage, whose record of `nbytes` bytes lies at `offset`.

        Raises:
            InitError: the record is smaller than the storage that it should hold.
        """
        start, size = self.view
        if max(self.nbytes, start + size) > nbytes:
            raise InitError(
                f"the storage {self.key!r} has {nbytes} bytes, but its description speaks of "
                f"{max(self.nbytes, start + size)}; the file is damaged"
            )
        return Storage(
            f"storage of {self.dtype}",
            blob=blob,
            offset=offset + start,
            nbytes=size,
            dtype=self.dtype,
            location=self.location,
        )


def storage_id(pid: Any) -> StorageId:
    """Take a persistent id apart: ('storage', class, key, location, count, [view]).

    Raises:
        InitError: it is something else, or its class is not known.
    """
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or _text(pid[0]) != "storage":
        raise InitError("its pickle refers to something that is no storage; the file is damaged")
    kind, key, location, (count,) = pid[1], _text(pid[2]), _text(pid[3]), numbers((pid[4],))
    name = kind.name if isinstance(kind, Global) else ""
    dtype = _STORAGES.get(name.rpartition(".")[2]) if name.startswith("torch.") else None
    if dtype is None:
        raise InitError(f"a storage of the unknown class {name[:80]!r}")
    view = (0, count)
    if len(pid) == 6 and pid[5] is not None:
        view = _view(pid[5])
    start, size = (number * dtype.itemsize for number in view)
    return StorageId(key, dtype, location, count * dtype.itemsize, (start, size))


def _view(view: Any) -> tuple[int, int]:
    if not isinstance(view, tuple) or len(view) != 3:
        raise InitError("a view of a storage is not described by three values")
    start, size = numbers(view[1:])
    return start, size


def _text(value: Any) -> str:
    if isinstance(value, bytes):  # of Python 2
        value = value.decode("latin-1")
    if not isinstance(value, str) or len(value) > 1000:
        raise InitError("its pickle describes a storage by what is no short text")
    return value


def numbers(values: Any) -> tuple[int, ...]:
    """The values as a shape, stride or the like.

    Raises:
        InitError: they are no such numbers.
    """
    if not isinstance(values, (tuple, list)) or len(values) > _MOST_DIMS:
        raise InitError(f"a shape or stride that is no tuple of at most {_MOST_DIMS} numbers")
    if not all(type(value) is int and 0 <= value < 2**63 for value in values):
        raise InitError("a shape, stride, offset or size that is no number from 0 to 2**63")
    return tuple(values)
