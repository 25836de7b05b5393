"""The recorder: what is done to tensors while it is on is noted instead.

`modes.py` tells it which operations torch dispatches; here is what they mean for the storages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from initium.errors import InitError
from initium.initializers import Constant, Initializer, Normal, TruncNormal, Uniform, check_tensor
from initium.record.geometry import covers, geometry, is_all, is_plain
from initium.record.records import converted
from initium.record.source import source
from initium.record.storages import MANY, Storages
from initium.streams import key_from
from initium.writes import Draw, Fill, surviving
from initium.writing import write_fill

# what they draw does not depend on the shape of the tensor
_SHAPELESS = (Constant, Normal, TruncNormal, Uniform)


class Recorder(Storages):
    """Notes what is written to storages (see `Storages` for its arguments and attributes)."""

    def fill(self, tensor: Tensor, initializer: Initializer, stream: Any = None) -> bool:
        """Note a fill of a tensor, which may be a view; False: it has to be run."""
        record = self.record(tensor)
        whole = covers(tensor, tensor.untyped_storage().nbytes())
        if record.escaped or not _fits(tensor, initializer):
            return False
        if not whole and (record.captured or tensor.dtype != record.dtype):
            return False
        if record.shape is not None and tensor.dtype.itemsize != record.dtype.itemsize:
            return False  # the shape counts other elements, as of a complex tensor
        if len(record.writes) >= MANY:
            record.writes[:] = surviving(record.writes)
            if len(record.writes) >= MANY and not whole:
                return False
        if not whole and not record.born and not record.writes:
            record.dtype = tensor.dtype
        where = None if whole else geometry(tensor)
        fill = self._fill(initializer, where, stream)
        record.writes.append(fill)
        self.check_lost(record, fill.source)
        if whole:
            record.dtype = tensor.dtype
        return True

    def _fill(self, initializer: Initializer, where: Any, stream: Any) -> Fill:
        said = source()
        stream = Draw() if stream is None else stream
        info = self.info or f"Initialized by {said}"
        return Fill(self.next_order(), said, info, initializer, where, stream, self.by)

    def write(self, tensor: Tensor, initializer: Initializer, stream: int | None = None) -> None:
        """Note a fill, or carry it out where it cannot be noted."""
        with self.off():
            if not self.exact and self.fill(tensor, initializer, stream):
                return
            record = self.record(tensor)
            self.settle(record, tensor)
            record.save(tensor)
            write_fill(tensor, initializer, self._next_key() if stream is None else stream)
            self.capture(tensor, type(initializer).__name__)

    def _next_key(self) -> int:
        if self.exact:
            return key_from(None, "cpu")  # as without a recorder
        return self.numbering.next_key()

    def note_call(
        self, tensor: Tensor, make: Callable[[], Initializer], run: Callable[[], Any]
    ) -> bool:
        """Note a whole function as one fill; False: it has to be run."""
        with self.off():
            try:
                noted = is_plain(tensor) and self.fill(tensor, make())
            except InitError:
                return False  # torch shall say what is wrong
            if noted:
                self.run_too(tensor, run)
        return noted

    def run_too(self, tensor: Tensor, run: Callable[[], Any]) -> None:
        """With `exact`, run what was noted of a tensor: its memory is what it would be without us."""
        if self.exact:
            record = self.record(tensor)
            record.save(tensor)
            try:
                run()
            finally:
                record.settled = len(record.writes)

    def computed(self, tensor: Tensor, parametrization: nn.Module) -> None:
        """Note that a parametrization has computed a tensor: what is written to that is lost."""
        with self.off():
            own = {p.untyped_storage()._cdata for p in parametrization.parameters() if is_plain(p)}
            if is_plain(tensor) and tensor.untyped_storage()._cdata not in own:
                self.record(tensor).computed = parametrization

    def follow(self, tensor: Tensor, name: str, arguments: tuple[Any, ...]) -> bool:
        """Note an elementwise operation in place; False: it has to be run."""
        record = self.known(tensor)
        if record is None or record.escaped or record.dtype != tensor.dtype or tensor.is_complex():
            return False
        whole = covers(tensor, tensor.untyped_storage().nbytes())
        said = {"by": self.by, "info": self.info, "source": source()} if self.info else {}
        part = None if whole else geometry(tensor)
        # what torch's generators draw is drawn as the code says
        return record.follow(part, name, arguments, said, as_said=self.generators is not None)

    def copy(self, target: Tensor, values: Tensor) -> bool:
        """Note that all of `target` gets the values of `values`; False: it has to be run."""
        source_record, record = self.known(values), self.record(target)
        if source_record is None or source_record.escaped or record.escaped:
            return False
        alike = target.shape == values.shape and is_all(target) and is_all(values)
        fills = source_record.copies() if alike and source_record.dtype == values.dtype else None
        fills = None if fills is None else converted(fills, values.dtype, target.dtype)
        if fills is None or not all(_fits(target, fill.initializer) for fill in fills):
            return False
        record.writes += [replace(fill, order=self.next_order()) for fill in fills]
        record.dtype = target.dtype
        return True


def _fits(tensor: Tensor, initializer: Initializer) -> bool:
    if tensor.is_contiguous() and isinstance(initializer, _SHAPELESS):
        return _fits_dtype(initializer, tensor.dtype)
    return _passes(tensor, initializer)


@lru_cache(maxsize=4096)
def _fits_dtype(initializer: Initializer, dtype: torch.dtype) -> bool:
    return _passes(torch.empty(2, dtype=dtype, device="cpu"), initializer)


def _passes(tensor: Tensor, initializer: Initializer) -> bool:
    try:
        check_tensor(tensor, initializer)
    except InitError:
        return False  # torch shall say what is wrong, or knows how
    return True
