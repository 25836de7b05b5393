"""Safetensors files: read by their header; the values stay where they are.

The format: https://github.com/huggingface/safetensors#format (8 bytes of length, little-endian, a
JSON header, and the data, which the tensors fill without holes).
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from initium.checkpoint.blob import Blob
from initium.checkpoint.entry import Entry, Unreadable
from initium.checkpoint.region import Region
from initium.errors import InitError, listing, located

_MOST = 100_000_000  # bytes of a header, as in the library
_TORCH = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "BOOL": "bool",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "F8_E4M3": "float8_e4m3fn", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
# of dtypes that torch, or an older torch, does not have
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8}
_FIELDS = dict.fromkeys(("dtype", "shape", "data_offsets")).keys()


def read_safetensors(blob: Blob) -> dict[str, Entry]:
    """The tensors of a safetensors file by name, in the order of its header.

    A tensor whose dtype torch does not have is described, but cannot be read.

    Raises:
        InitError: the file does not keep to the format, or is cut short; the message does not name
            the file.
    """
    start, header = _header(blob)
    _check_metadata(header.pop("__metadata__", None))
    file = re.split(r"[/\\]", blob.name)[-1]
    entries, spans = {}, []
    with located() as at:
        for key, fields in header.items():
            at.place = key
            entries[key], begin, end = _entry(blob, start, fields, f"{file}: {key}")
            spans.append((begin, end, key))
    _check_tiled(spans, blob.size - start)
    return entries


def json_object(raw: bytes) -> dict[str, Any]:
    """A JSON object, read strictly: UTF-8, no key twice, no `NaN`, no halves of characters.

    Raises:
        InitError: it is not, or nests too deeply.

    >>> json_object(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    initium.errors.InitError: the key 'a' is there twice
    """
    try:
        text = raw.decode()
        value = json.loads(
            text, object_pairs_hook=_once, parse_int=_integer, parse_constant=_no_constant
        )
        if "\\u" in text:  # only these can say half of a surrogate pair
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise InitError("its JSON nests too deeply") from None
    except InitError:
        raise
    except ValueError as error:  # UnicodeError and JSONDecodeError among them
        raise InitError(f"its JSON is damaged: {error}") from None
    if not isinstance(value, dict):
        raise InitError(f"its JSON must be an object, but is a {type(value).__name__}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InitError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def _integer(digits: str) -> int | float:
    # for the library -0 is a float, and so no size
    return -0.0 if digits == "-0" else int(digits)


def _no_constant(word: str) -> None:
    raise InitError(f"its JSON says {word}, which is not JSON")


def _header(blob: Blob) -> tuple[int, dict[str, Any]]:
    """Where the data start, and the header."""
    if blob.size < 8:
        raise InitError(f"it has {blob.size} bytes, too few for a safetensors file")
    length = int.from_bytes(blob.read(0, 8), "little")
    if length > _MOST:
        raise InitError(
            f"its header would be {length} bytes long, more than the {_MOST} that the format "
            "allows; it is damaged or no safetensors file"
        )
    raw = blob.read(8, length)
    if raw[:1] != b"{":
        raise InitError(f"its header must start with '{{', but starts with {raw[:1]!r}")
    with located("its header"):
        return 8 + length, json_object(raw)


def _check_metadata(metadata: Any) -> None:
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())
    ):
        raise InitError("__metadata__ must map str to str")


def _entry(blob: Blob, start: int, fields: Any, text: str) -> tuple[Entry, int, int]:
    """A tensor, and from where to where in the data it lies."""
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        said = listing(map(repr, fields)) if isinstance(fields, dict) else reprlib.repr(fields)
        raise InitError(f"a tensor has the fields {', '.join(_FIELDS)}, but this one has: {said}")
    name, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(name, str):
        raise InitError(f"dtype must be a str, but is {reprlib.repr(name)}")
    _check_sizes("shape", shape)
    _check_sizes("data_offsets", offsets)
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InitError(f"data_offsets must be [begin, end], but is {reprlib.repr(offsets)}")
    begin, end = offsets
    dtype = _dtype(name)
    bits = _BITS.get(name) if dtype is None else 8 * dtype.itemsize
    _check_bytes(shape, name, bits, end - begin)
    if dtype is None:
        reason = f"torch has no dtype for {name}"
        return Unreadable(tuple(shape), torch.uint8, text, reason), begin, end
    return Region(blob, start + begin, tuple(shape), dtype, text), begin, end


def _dtype(name: str) -> torch.dtype | None:
    found = getattr(torch, _TORCH.get(name, ""), None)
    return found if isinstance(found, torch.dtype) else None


def _check_sizes(field: str, value: Any) -> None:
    for n in value if isinstance(value, list) else [None]:
        if type(n) is not int or n < 0:  # not isinstance(): a bool is an int
            raise InitError(
                f"{field} must be a list of whole numbers from 0, but is {reprlib.repr(value)}"
            )


def _check_bytes(shape: list[int], dtype: str, bits: int | None, length: int) -> None:
    check_countable(shape, bits or 8)
    taken = math.prod(shape) * (bits or 0)
    if bits is not None and taken != length * 8:
        raise InitError(
            f"{shape} of {dtype} takes {taken / 8:g} bytes, but data_offsets say {length}"
        )


def check_countable(shape: Sequence[int], bits: int) -> None:
    """Raise an `InitError` for a shape with more dimensions or elements than torch can count.

    >>> check_countable([0, 1 << 62], 8 * 4)
    Traceback (most recent call last):
    initium.errors.InitError: the shape [0, 4611686018427387904] is too large
    """
    if len(shape) > 64:
        raise InitError(f"it has {len(shape)} dimensions; torch has at most 64")
    volume = math.prod(shape) or math.prod(n or 1 for n in shape)  # a zero hides no other number
    if volume * bits >= 1 << 63:
        raise InitError(f"the shape {reprlib.repr(list(shape))} is too large")


def _check_tiled(spans: Iterable[tuple[int, int, str]], size: int) -> None:
    """The tensors must fill the data without holes and overlaps."""
    at = 0
    for begin, end, key in sorted(spans):
        if begin != at:
            raise InitError(
                f"{key} must begin at byte {at} of the data, where the tensor before it ends, "
                f"but begins at {begin}; the file is damaged"
            )
        at = end
    if at != size:
        raise InitError(
            f"the tensors take {at} bytes, but {size} are there; the file is cut short or damaged"
        )
