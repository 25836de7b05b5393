"""Files that torch.save wrote, as a zip archive or as before torch 1.6: described, not read.

The formats are those of torch/serialization.py, `_save` and `_legacy_save`.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from typing import Any, BinaryIO, cast

from initium.checkpoint.blob import Blob, Stream
from initium.checkpoint.formats.pickles import MOST_BYTES, read_pickle
from initium.checkpoint.formats.rebuilding import rebuild
from initium.checkpoint.formats.storages import Storage, StorageId, storage_id
from initium.errors import InitError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LOCAL_HEADER = b"PK\x03\x04"
_SAVE_AGAIN = "save model.state_dict() with torch.save, or as safetensors"


def read_torch(blob: Blob) -> Any:
    """What a file of torch.save holds, with an `Entry` in place of each tensor.

    Plain data are themselves; anything else is an `Opaque` or a `Global`, and nothing that the
    file names is imported or called. No tensor's bytes are read.

    Raises:
        InitError: it is no such file, or it is damaged, cut short, or from a machine of the other
            byte order.
    """
    head = blob.read(0, min(blob.size, 512))
    if head.startswith(_LOCAL_HEADER):
        return _read_zip(blob)
    if head[257:262] == b"ustar":
        raise InitError(
            f"it is a tar archive; torch before 0.4 saved those. Load it there, and {_SAVE_AGAIN}"
        )
    return _read_legacy(blob, head)


def _read_zip(blob: Blob) -> Any:
    archive = _Archive(blob)
    archive.check()
    places: dict[str, tuple[int, int]] = {}

    def persistent(pid: Any) -> Storage:
        named = storage_id(pid)
        if named.location == "meta":
            return named.storage(blob, 0, named.nbytes)
        if named.key not in places:
            places[named.key] = archive.place(f"data/{named.key}")
        return named.storage(blob, *places[named.key])

    return read_pickle(io.BytesIO(archive.read("data.pkl", MOST_BYTES)), persistent, rebuild)


class _Directory(Stream):
    """A zip archive as zipfile sees it: its directory may be large, but not as large as it likes."""

    def read(self, size: int = -1) -> bytes:
        if size > MOST_BYTES:
            raise InitError(f"its zip directory is larger than {MOST_BYTES >> 20} MiB")
        return super().read(size) or b""


class _Archive:
    """The records of a zip archive, each of them a stretch of the blob."""

    def __init__(self, blob: Blob) -> None:
        try:
            with zipfile.ZipFile(cast(BinaryIO, _Directory(blob))) as directory:
                infos, end = directory.infolist(), directory.start_dir
        except InitError:
            raise
        except Exception as error:  # whatever a damaged directory makes zipfile raise
            raise InitError(
                f"its zip directory is damaged: {str(error)[:200]}; the file may be cut short"
            ) from error
        self.blob, self.end = blob, end
        self.records = {info.filename: info for info in infos}
        self.duplicates = len(infos) - len(self.records)
        roots = [name for name in self.records if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise InitError("it is a zip archive, but torch.save did not write it: no data.pkl")
        self.root = roots[0].removesuffix("data.pkl")

    def check(self) -> None:
        """Raise an InitError for an archive that torch.save does not write, or not for here."""
        inner = [name.removeprefix(self.root) for name in self.records]
        if any(name == "constants.pkl" or name.startswith("code/") for name in inner):
            raise InitError(
                f"it is a TorchScript archive, a program; load it with torch.jit.load, and {_SAVE_AGAIN}"
            )
        if self.duplicates:
            raise InitError("its zip directory has two records of the same name")
        for info in self.records.values():
            if info.compress_type or info.flag_bits & 1 or info.compress_size != info.file_size:
                raise InitError(
                    "its records are compressed or encrypted, which torch.save never does"
                )
        order = self.read("byteorder", 16) if f"{self.root}byteorder" in self.records else b"little"
        _check_order(order.decode("latin-1"))

    def place(self, name: str) -> tuple[int, int]:
        """Where a record's bytes begin, and how many there are."""
        info = self.records.get(self.root + name)
        if info is None:
            raise InitError(f"it has no record {name}; the file is damaged")
        header = self.blob.read(info.header_offset, 30)
        name_length, extra_length = struct.unpack("<HH", header[26:])
        start = info.header_offset + 30 + name_length + extra_length
        if not header.startswith(_LOCAL_HEADER) or start + info.file_size > self.end:
            raise InitError(
                f"the record {name} does not lie where the zip directory says; the file is damaged"
            )
        return start, info.file_size

    def read(self, name: str, most: int) -> bytes:
        start, size = self.place(name)
        if size > most:
            raise InitError(f"its record {name} has {size} bytes; at most {most} are read")
        return self.blob.read(start, size)


def _check_order(order: str) -> None:
    if order != sys.byteorder:
        raise InitError(
            f"it was saved on a machine of the byte order {order!r}, but this one is "
            f"{sys.byteorder}-endian; load it with torch.load, and save it here"
        )


def _read_legacy(blob: Blob, head: bytes) -> Any:
    _check_magic(head)
    file = cast(BinaryIO, io.BufferedReader(Stream(blob)))
    read_pickle(file)
    protocol, system = read_pickle(file), read_pickle(file)
    if protocol != _PROTOCOL or not isinstance(system, dict):
        raise InitError("it has the magic number of torch.save, but an unknown protocol")
    _check_order("little" if system.get("little_endian", True) else "big")
    return _read_twice(blob, file)


def _check_magic(head: bytes) -> None:
    try:
        magic = read_pickle(io.BytesIO(head))
    except InitError:
        magic = None
    if magic == _MAGIC:
        return
    what = "is a bare pickle" if head.startswith(b"\x80") else f"begins with {head[:16]!r}"
    raise InitError(f"torch.save did not write it: it {what}; {_SAVE_AGAIN}")


def _read_twice(blob: Blob, file: BinaryIO) -> Any:
    """The object; where its storages lie is known only from what comes behind it."""
    start = file.tell()
    named: dict[str, StorageId] = {}

    def collect(pid: Any) -> None:
        if not _is_module(pid):
            named.setdefault((one := storage_id(pid)).key, one)

    read_pickle(file, collect)
    places = _places(blob, named, read_pickle(file), file.tell())
    file.seek(start)
    return read_pickle(file, lambda pid: _legacy_storage(blob, places, pid), rebuild)


def _is_module(pid: Any) -> bool:
    """The class of a pickled module came with its source code: ('module', class, file, source)."""
    return isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module"


def _legacy_storage(blob: Blob, places: dict[str, tuple[int, int]], pid: Any) -> Any:
    if _is_module(pid):
        return pid[1]
    named = storage_id(pid)
    if named.key not in places:
        raise InitError(f"the bytes of the storage {named.key!r} are missing; the file is damaged")
    return named.storage(blob, *places[named.key])


def _places(
    blob: Blob, named: dict[str, StorageId], keys: Any, offset: int
) -> dict[str, tuple[int, int]]:
    """Where each storage's bytes begin, and how many there are; a count stands before each."""
    places: dict[str, tuple[int, int]] = {}
    for key in keys if isinstance(keys, list) else [None]:
        if not isinstance(key, str) or key not in named or key in places:
            raise InitError("its list of storages does not fit what it holds; the file is damaged")
        (count,) = struct.unpack("<q", blob.read(offset, 8))
        size = count * named[key].dtype.itemsize
        if count < 0 or offset + 8 + size > blob.size:
            raise InitError(
                f"the storage {key!r} should have {count} elements, more than there are bytes; "
                "the file is cut short or damaged"
            )
        places[key] = (offset + 8, size)
        offset += 8 + size
    return places
