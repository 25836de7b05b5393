"""Who set which tensor. For user code it is observed, never guessed from values.

A write is seen by the version counter of the tensor, by a change of its memory or its object, and
(through `.data`, which has no counter) by watching the operations that torch dispatches. What goes
around torch altogether, such as writing into `tensor.numpy()`, is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode  # the documented way to see every op

from initium.tree import Slot, Tree

Place = tuple[int, str]  # (id of the module, its attribute)


class Ledger:
    """What has happened to the tensors of a tree so far.

    Attributes:
        credits: slot -> (kind, info, source) of what set it last.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.credits: dict[Slot, tuple[str, str, str]] = {}
        self._watch = _Watch()
        # (module, info, source) of the calls going on
        self._user_code: list[tuple[nn.Module, str, str]] = []
        self._marks = {slot: _mark(slot.tensor) for slot in tree.slots}

    def credit(self, places: Iterable[Place], kind: str, info: str, source: str) -> None:
        """Note that the tensors at `places` were just set by `source`."""
        for place in places:
            slot = self.tree.at.get(place)
            if slot is not None:
                self.credits[slot] = (kind, info, source)
                self._marks[slot] = _mark(slot.tensor)
                self._watch.written.discard(_address(slot.tensor))

    @contextmanager
    def watching(self, module: nn.Module, info: str, source: str) -> Iterator[None]:
        """Credit what is written within to user code that runs on a module."""
        self._user_code.append((module, info, source))
        try:
            with self._watch if len(self._user_code) == 1 else nullcontext():
                yield
            self.settle_user_code()
            self._adopt(module)
        finally:
            self._user_code.pop()

    def settle_user_code(self) -> None:
        """Credit all that was written since the last time to the user code that is going on."""
        if self._user_code:
            module, info, source = self._user_code[-1]
            self.settle(info, source, module)
            if self._watch.written:  # it wrote elsewhere, too, if only to its temporaries
                self.settle(info, source, self.tree.root)
                self._watch.written.clear()

    def settle(self, info: str, source: str, within: nn.Module) -> None:
        """Credit all that was written below a module since the last time to what `info` says."""
        found = []
        for slot in self.tree.below(within):
            address = _address(slot.tensor)
            if self._marks[slot] != _mark(slot.tensor) or address in self._watch.written:
                self.credits[slot] = ("user code", info, source)
                self._marks[slot] = _mark(slot.tensor)
                found.append(address)
        self._watch.written.difference_update(found)

    def _adopt(self, module: nn.Module) -> None:
        """Take tensors into the tree that user code has created."""
        if all(
            tensor is None or (id(holder), local) in self.tree.at
            for holder in module.modules()
            for local, tensor in (*holder._parameters.items(), *holder._buffers.items())
        ):
            return
        known, self.tree = self.tree, Tree(self.tree.root)
        old = self.credits
        self.credits = {}
        self._marks = {slot: _mark(slot.tensor) for slot in self.tree.slots}
        for slot in self.tree.slots:
            before = known.at.get((id(slot.owner), slot.local))
            if before is None:
                self.credits[slot] = ("user code", "Created by user-defined `init_weights`", "")
            elif before in old:
                self.credits[slot] = old[before]


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
    """Notes the memory that in-place operations write to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is untyped
        self.written: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[i] if i < len(args) else kwargs.get(argument.name)
                for tensor in value if isinstance(value, (list, tuple)) else [value]:
                    if isinstance(tensor, Tensor):
                        self.written.add(_address(tensor))
        return func(*args, **kwargs)


def _address(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    except (RuntimeError, NotImplementedError):  # lazy, fake or sparse: there is no storage
        return id(tensor)


def _mark(tensor: Tensor) -> tuple[int, int, int]:
    version = 0 if tensor.is_inference() else tensor._version
    return id(tensor), version, _address(tensor)
