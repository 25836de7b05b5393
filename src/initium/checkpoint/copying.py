"""From a mapped file into a tensor, with a look at the values, in one pass over memory."""

from __future__ import annotations

import torch
from torch import Tensor

from initium.checkpoint.blob import Blob
from initium.streams import kernel

_LEAST = 1 << 16  # bytes; for fewer, to map them would take longer than to read them
_VECTOR = 32  # bytes
# where all bits of the exponent are set, a value is NaN or infinite: (of the lower half of 32 bits,
# of the upper one or the only one, whether that is one of 64)
_MASKS = {
    torch.float32: (0x7F800000, 0x7F800000, False),
    torch.float16: (0x7C00, 0x7C000000, False),
    torch.bfloat16: (0x7F80, 0x7F800000, False),
    torch.float64: (0, 0x7FF0000000000000, True),
}


def copied(blob: Blob, offset: int, to: Tensor) -> bool | None:
    """Copy the bytes at `offset` into a tensor past the caches; whether all values are finite.

    None: it was not done, as there is no map, or too few bytes, or another kind of numbers.
    """
    size, masks = to.nbytes, _MASKS.get(to.dtype)
    target = to.data_ptr()
    if masks is None or size < _LEAST or size % _VECTOR or target % _VECTOR:
        return None
    with blob.mapped(offset, size) as source:
        if source is None:
            return None
        low, high, wide = masks
        return not kernel("copy")(source, target, size, low, high, wide)
