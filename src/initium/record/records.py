"""What is known of one storage while it is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from initium.initializers import (
    Chain,
    Constant,
    Initializer,
    followed_by,
    recognised,
)
from initium.record.geometry import Geometry, all_of
from initium.writes import Capture, Fill, Write, is_keep, surviving


@dataclass(eq=False, slots=True)
class Record:
    """A storage and the writes to it, noted but not run.

    Attributes:
        weak: keeps the storage's identity from being used again, not its memory.
        born: whether it was allocated within the recording, so that nobody else can see it.
        dtype: of the tensors that the writes were made to.
        writes: all writes, in order; `surviving` says which count.
        settled: how many of them the memory reflects.
        escaped: whether its memory is known to code that torch does not see: nothing is deferred.
        shape: of the tensor that the writes are of; None: the storage from end to end.
        path: the tensor's name in a model, where that is known already.
        before: (memory, its bytes before the recording wrote to it), where it is not its own.
        computed: the parametrization that has just computed the values from other tensors.
    """

    weak: Any
    born: bool
    dtype: torch.dtype
    writes: list[Write] = field(default_factory=list)
    settled: int = 0
    escaped: bool = False
    shape: Geometry | None = None
    path: str | None = None
    before: tuple[Tensor, Tensor] | None = None
    computed: Any = None

    @classmethod
    def of(cls, tensor: Tensor, born: bool) -> Record:
        """The record of the storage of a tensor, to which nothing was written yet."""
        storage = tensor.untyped_storage()
        weak = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        record = cls(weak, born, tensor.dtype)
        # memory that others own, too (an array of NumPy), can be written without our seeing it
        record.escaped = not (born or tensor.is_meta or storage.resizable())
        return record

    @property
    def pending(self) -> bool:
        """Whether writes are noted that the memory does not reflect."""
        return self.settled != len(self.writes)

    @property
    def base(self) -> Write | None:
        """The surviving write of the whole storage."""
        last = next((w for w in reversed(self.writes) if w.where is None), None)
        if not is_keep(last):
            return last
        left = surviving(self.writes)
        return left[0] if left and left[0].where is None else None

    @property
    def captured(self) -> bool:
        """Whether the memory alone knows the values."""
        return isinstance(self.base, Capture)

    def follow(
        self,
        part: Geometry | None,
        name: str,
        arguments: tuple[Any, ...],
        said: Mapping[str, Any],
        as_said: bool = False,
    ) -> bool:
        """Note an elementwise operation on the storage, or on a part; False: it cannot be noted.

        `said` is what changes in the writes besides; with `as_said`, each operation is kept.
        """
        left = surviving(self.writes)
        if not left or left[0].where is not None or not all(isinstance(w, Fill) for w in left):
            return False
        mine = left if part is None else [w for w in left[1:] if w.where == part]
        if not mine or (part is not None and left[-1] is not mine[-1]):
            return False
        after = {}
        for w in mine:
            if isinstance(w, Fill):
                made = followed_by(w.initializer, name, arguments, self.dtype)
                made = made if as_said else recognised(made)
                after[id(w)] = replace(w, initializer=made, **said)
        self.writes[:] = [after.get(id(w), w) for w in self.writes]
        self.settled = -1
        return True

    def copies(self) -> list[Fill] | None:
        """The surviving writes, for a storage that gets the same values; None: they are no fills."""
        left = surviving(self.writes)
        fills = [w for w in left if isinstance(w, Fill)]
        if len(fills) != len(left) or not left or left[0].where is not None:
            return None
        if self.path is None:
            return fills
        return [replace(w, stream=self.path) if w.stream is None else w for w in fills]

    def flat(self, tensor: Tensor) -> Tensor:
        """The storage, which `tensor` lies in, as the tensor that the writes are of."""
        flat = all_of(tensor, self.dtype)
        return flat if self.shape is None else self.shape.of(flat)

    def memory(self) -> Tensor | None:
        """A tensor in the storage; None where nobody holds it any more."""
        storage = torch.UntypedStorage._new_with_weak_ptr(self.weak.cdata)
        if storage is None:
            return None
        return torch.empty(0, dtype=self.dtype, device=storage.device).set_(storage)

    def save(self, tensor: Tensor) -> None:
        """Keep the bytes of memory that is not the recording's own, before it is written to."""
        if not self.born and self.before is None and not tensor.is_meta:
            memory = all_of(tensor, torch.uint8)
            self.before = memory, memory.clone()


def converted(fills: Iterable[Fill], source: torch.dtype, target: torch.dtype) -> list[Fill] | None:
    """The fills of a tensor that is cast to another dtype; None where only memory knows."""
    found = []
    for fill in fills:
        initializer = _cast(fill.initializer, source, target)
        if initializer is None:
            return None
        found.append(replace(fill, initializer=initializer))
    return found


def _cast(initializer: Initializer, source: torch.dtype, target: torch.dtype) -> Initializer | None:
    if source == target:
        return initializer
    if target.is_complex:
        return None
    if isinstance(initializer, Constant):
        one = torch.full((1,), initializer.val, dtype=source, device="cpu")
        return Constant(one.to(target).item())
    # a lower precision is the rounding of the float32 value; float64 has values of its own
    rounds = source == torch.float32 and target in (torch.bfloat16, torch.float16)
    return initializer if rounds and not isinstance(initializer, Chain) else None
