"""From one place in memory into a tensor, with a look at the values, in one pass over memory."""

from __future__ import annotations

import torch
from torch import Tensor

from initium.streams import kernel

_VECTOR = 32  # bytes
# where all bits of the exponent are set, a value is NaN or infinite: (of the lower half of 32 bits,
# of the upper one or the only one, whether that is one of 64)
_MASKS = {
    torch.float32: (0x7F800000, 0x7F800000, False),
    torch.float16: (0x7C00, 0x7C000000, False),
    torch.bfloat16: (0x7F80, 0x7F800000, False),
    torch.float64: (0, 0x7FF0000000000000, True),
}


def copied(source: int, to: Tensor) -> bool | None:
    """Copy what lies at an address into a tensor, past the caches; whether all values are finite.

    None: it was not done, as they are another kind of numbers, or not in rows of 32 bytes.
    """
    size, masks, target = to.nbytes, _MASKS.get(to.dtype), to.data_ptr()
    if masks is None or size % _VECTOR or target % _VECTOR:
        return None
    low, high, wide = masks
    return not kernel("copy")(source, target, size, low, high, wide)
