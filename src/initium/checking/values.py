"""The values of one tensor: drawn again as its plan says, and compared with saved ones."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from initium.checking.matching import dtype_of
from initium.checkpoint import Entry, Files
from initium.errors import InitError
from initium.lines import Line
from initium.refilling import refill
from initium.streams import Seed
from initium.tree import Slot

STEP = 1 << 22  # elements that are compared at a time
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.int64}


class Drawing:
    """Draws the tensors of a plan again, one after the other.

    Args:
        seed: of the plan.
        files: the checkpoints that are open.
    """

    def __init__(self, seed: Seed, files: Files) -> None:
        self.seed, self.files = seed, files

    def problem(self, line: Line, entry: Entry) -> str | None:
        """How saved values differ from those of a line; None: they do not."""
        saved = entry.read()
        planned = dtype_of(line)
        found = difference(saved, self._values(line, planned, saved).to(saved.dtype))
        if found is None or saved.dtype == planned:
            return found
        try:
            drawn_so = difference(saved, self._values(line, saved.dtype, saved))
        except InitError:  # in that precision it cannot be
            return found
        return found if drawn_so else None

    def _values(self, line: Line, dtype: torch.dtype, saved: Tensor) -> Tensor:
        """What `apply` would write. Elements that nothing writes are taken as they were saved."""
        holder = nn.Module()
        tensor = torch.empty(line.shape, dtype=dtype, device="cpu")
        holder.register_buffer("tensor", tensor)
        slot = Slot(line.name, line.path, holder, "tensor", is_buffer=True)
        refill(tensor, slot, line, saved, self.seed, self.files)
        return tensor


def difference(saved: Tensor, expected: Tensor) -> str | None:
    """In which elements two tensors of one shape and dtype differ, bit for bit; None: in none.

    >>> print(difference(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 3.0]])))
    1 of 2 elements differ; the first at [0, 1]: got 2.0, expected 3.0
    """
    flat, wanted = saved.contiguous().reshape(-1), expected.contiguous().reshape(-1)
    count, first = 0, -1
    for start, differs in _differing(flat, wanted):
        if count == 0:
            first = start + int(differs.nonzero()[0])
        count += int(differs.sum())
    if count == 0:
        return None
    return (
        f"{count} of {flat.numel()} elements differ; the first at {_index(first, saved.shape)}: "
        f"got {flat[first].item()!r}, expected {wanted[first].item()!r}"
    )


def _differing(one: Tensor, other: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(Index of the first element, whether each differs) of the parts that are not equal."""
    for start in range(0, one.numel(), STEP):
        a, b = (_bits(t[start : start + STEP]) for t in (one, other))
        if not torch.equal(a, b):
            yield start, (a != b).any(1)


def _bits(values: Tensor) -> Tensor:
    """A row of integers an element, so that NaN equals NaN, and 0 is not -0."""
    return values.view(_BITS[values.element_size()]).view(values.numel(), -1)


def _index(flat: int, shape: torch.Size) -> list[int]:
    sizes = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    return [flat // size % n for size, n in zip(sizes, shape, strict=True)]
