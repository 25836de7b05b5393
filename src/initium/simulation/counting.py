"""What a rank has of every tensor: elements, bytes, what is done to them, what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from initium.errors import InitError, located
from initium.initializers import Orthogonal
from initium.lines import Line
from initium.planning import Plan
from initium.shard import memory_of, pieces_of
from initium.simulation.geometry import Spread, spread_of
from initium.streams import Whole
from initium.tree import Slot
from initium.writes import Capture, Fill, Load, is_keep

KINDS = ("drawn", "constant", "loaded", "captured", "untouched")


@dataclass(frozen=True, eq=False)
class Share:
    """What a rank has of one tensor.

    Attributes:
        slot: the tensor.
        line: what the plan says of it.
        spread: how it lies over the mesh.
        shape: of what this rank has.
        kind: one of `KINDS`.
    """

    slot: Slot
    line: Line
    spread: Spread
    shape: tuple[int, ...]
    kind: str

    @property
    def elements(self) -> int:
        """The number of elements that this rank has."""
        return memory_of(self.slot.tensor).numel()

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return self.slot.tensor.element_size()

    @property
    def bytes(self) -> int:
        """Of what this rank has."""
        return self.elements * self.itemsize

    @property
    def coordinate(self) -> tuple[int, ...]:
        """Where this rank is on the mesh of the tensor."""
        mesh: Any = getattr(self.slot.tensor, "device_mesh", None)
        return () if mesh is None else tuple(mesh.get_coordinate())


def share_of(slot: Slot, plan: Plan) -> Share:
    """What this rank has of a tensor.

    Raises:
        InitError: its memory is not as large as its placements say.
    """
    line = plan.lines.get(slot.name)
    if line is None:
        line = Line(slot.name, slot.path, tuple(slot.tensor.shape), str(slot.tensor.dtype))
    with located(slot.name):
        spread = spread_of(slot.tensor)
        share = Share(slot, line, spread, tuple(memory_of(slot.tensor).shape), _kind(line))
        said = tuple(map(len, spread.held(share.coordinate)))
        if said != share.shape and (share.elements or 0 not in said):
            raise InitError(
                f"this rank has memory of shape {list(share.shape)}, but its placements "
                f"{placements_of(slot)} say {list(said)}: torch does not know where its elements are"
            )
    return share


def placements_of(slot: Slot) -> str:
    """How a tensor is placed, in words.

    >>> placements_of(Slot("bias", "bias", torch.nn.Linear(2, 2), "bias"))
    'replicated'
    """
    mesh: Any = getattr(slot.tensor, "device_mesh", None)
    where = getattr(slot.tensor, "placements", ())
    names = mesh.mesh_dim_names or range(mesh.ndim) if mesh is not None else ()
    said = [f"{n} {_word(p)}" for n, p in zip(names, where, strict=True) if not p.is_replicate()]
    return ", ".join(said) or "replicated"


def _word(placement: Any) -> str:
    factor = getattr(placement, "split_factor", None)
    return f"[{placement.dim}]" if factor is None else f"[{placement.dim}, in {factor} runs]"


def _kind(line: Line) -> str:
    write = line.write
    if write is None or is_keep(write):
        return "untouched"
    if isinstance(write, Fill):
        return "drawn" if write.initializer.random else "constant"
    return "loaded" if isinstance(write, Load) else "captured"


@dataclass(frozen=True)
class WholeStep:
    """A tensor that every rank which holds a part of it computes as a whole.

    Attributes:
        name: of the tensor.
        why: what asks for it.
        bytes: of the memory that it takes meanwhile.
    """

    name: str
    why: str
    bytes: int


# Of an orthogonal matrix a triangle in float64 is there, too, and what threads work in; of a sparse
# one, as measured, so many elements, with so many bytes each, while their order is looked for.
_AT_ONCE, _SORTED, _WORK = 1 << 20, 48, 16 << 10


def whole_step(share: Share) -> WholeStep | None:
    """What a rank must compute as a whole for its part of a tensor; None: nothing."""
    n = share.line.elements()
    for write in share.line.carried_out if share.elements else ():
        if isinstance(write, Capture):
            return WholeStep(share.slot.name, f"captured({write.reason})", n * share.itemsize)
        if isinstance(write, Load) and any(adapter.computes for adapter in write.adapters):
            said = ", ".join(a.describe() for a in write.adapters if a.computes)
            return WholeStep(share.slot.name, said, n * share.itemsize)
        if isinstance(write, Fill) and isinstance(drawn_by(write, share.line), Whole):
            size = 8 if share.slot.tensor.dtype == torch.float64 else 4
            more = min(n, _AT_ONCE) * _SORTED
            if isinstance(write.initializer, Orthogonal):
                columns = min(share.line.shape[0], n // max(1, share.line.shape[0]))
                more = 4 * columns**2 + _WORK * columns
            return WholeStep(share.slot.name, str(write.initializer), n * size + more)
    return None


def drawn_by(write: Fill, line: Line) -> Any:
    """What a fill draws for its tensor, or for the part of it that it fills."""
    if write.where is None:
        return write.initializer.draws(line.shape)
    part = write.where.of(torch.empty(line.shape, device="meta"))
    return write.initializer.draws(tuple(part.shape))


def temporary(share: Share, threads: int) -> int:
    """Bytes beside its own memory that filling this rank's part of a tensor takes (on a CPU)."""
    step = whole_step(share)
    if step is not None:
        return step.bytes
    memories = [piece.memory for piece in pieces_of(share.slot.tensor)]
    if share.kind != "drawn" or all(memory.is_contiguous() for memory in memories):
        return 0  # drawn in its place
    return min(share.elements, GRAIN * threads) * 4


# Elements that a thread draws aside at a time, where rows of memory do not follow each other.
GRAIN = 1 << 18
