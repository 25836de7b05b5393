"""The tensors of a model with their names, wrappers seen through, ties found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy as is_lazy  # of a lazy module: it has no shape yet

# what wraps one module and has no tensor of its own: the attribute under which it keeps it
_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def is_model_wrapper(module: nn.Module) -> bool:
    """Whether `module` only wraps another one: data parallel, FSDP, compiled, recomputed."""
    return wrapped_as(module) is not None


def wrapped_as(module: nn.Module) -> str | None:
    """The attribute that holds the module which `module` wraps, or None."""
    if isinstance(module, (DataParallel, DistributedDataParallel)):
        return "module"
    if module._modules:  # most modules are leaves
        for name in _WRAPPED:
            if name in module._modules:
                return name
    return None


@dataclass(eq=False)
class Slot:
    """One tensor of a model: a place where a module keeps it.

    Attributes:
        name: as `named_parameters` writes it.
        path: the name without the segments of wrappers; patterns match it, keys are made from it.
        owner: the module that holds it as its attribute `local`.
        aliases: the other places of the same tensor (tied weights, shared modules).
    """

    name: str
    path: str
    owner: nn.Module
    local: str
    is_buffer: bool = False
    aliases: tuple[Slot, ...] = ()

    @property
    def tensor(self) -> Tensor:
        """The tensor that lies there now (user code may put another one)."""
        store = self.owner._buffers if self.is_buffer else self.owner._parameters
        found = store[self.local]
        assert found is not None
        return found

    def places(self) -> list[Slot]:
        """This slot and its aliases."""
        return [self, *self.aliases]

    @property
    def names(self) -> list[str]:
        """What the tensor may be called: the path and the name of every place."""
        if not self.aliases and self.path == self.name:  # as most
            return [self.path]
        texts = (text for place in self.places() for text in (place.path, place.name))
        return list(dict.fromkeys(texts))

    @property
    def persistent(self) -> bool:
        """Whether it is in the model's state dict; some buffers are not."""
        return not self.is_buffer or any(
            place.local not in place.owner._non_persistent_buffers_set for place in self.places()
        )


class Tree:
    """The modules and tensors of a model, by name.

    Attributes:
        root: the model.
        modules: every module by its name; a shared one has several.
        paths: the path (the name without wrappers) of each of these names.
        slots: one slot a tensor, in the order of `named_parameters`, then buffers.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.slots: list[Slot] = []
        self.at: dict[tuple[int, str], Slot] = {}
        self.grow()

    def grow(self) -> list[Slot]:
        """Take in what was added to the model since; the new slots."""
        self.modules: dict[str, nn.Module] = {}
        self.paths: dict[str, str] = {}
        self._path_of: dict[int, str] = {}
        self._visit(self.root, "", "")
        known = _Known()
        for slot in self.slots:
            known.first(slot)
        new = []
        for place in self._places():
            if (id(place.owner), place.local) in self.at:
                continue
            first = known.first(place)
            if first is place:
                new.append(place)
            else:
                first.aliases += (place,)
            self.at[id(place.owner), place.local] = first
        self.slots += new
        return new

    def _visit(self, module: nn.Module, name: str, path: str) -> None:
        self.modules[name], self.paths[name] = module, path
        self._path_of.setdefault(id(module), path)
        inside = wrapped_as(module)
        for leaf, child in module._modules.items():
            if child is not None:
                below = path if leaf == inside else join(path, leaf)
                self._visit(child, join(name, leaf), below)

    def path_of(self, module: nn.Module) -> str:
        """The (first) path of a module of this tree."""
        return self._path_of[id(module)]

    def has(self, module: nn.Module) -> bool:
        """Whether a module is part of this tree."""
        return id(module) in self._path_of

    def _places(self) -> Iterator[Slot]:
        for buffers in (False, True):
            for name, module in self.modules.items():
                path = self.paths[name]
                held = module._buffers if buffers else module._parameters
                for local, tensor in held.items():
                    if tensor is not None:
                        yield Slot(join(name, local), join(path, local), module, local, buffers)

    @property
    def named(self) -> dict[str, Slot]:
        """The slots by every name that they have, with the segments of wrappers and without."""
        found = {place.path: slot for slot in self.slots for place in slot.places()}
        return found | {place.name: slot for slot in self.slots for place in slot.places()}

    @property
    def parameters(self) -> list[Slot]:
        """The slots of parameters."""
        return [slot for slot in self.slots if not slot.is_buffer]

    def below(self, module: nn.Module) -> list[Slot]:
        """The slots of the tensors that `module` and the modules below it hold."""
        found: dict[Slot, None] = {}
        for holder in module.modules():
            for local in (*holder._parameters, *holder._buffers):
                slot = self.at.get((id(holder), local))
                if slot is not None:
                    found[slot] = None
        return list(found)

    def visible(self) -> list[tuple[str, nn.Module]]:
        """(path, module) of every module once, wrappers left out."""
        seen: set[int] = set()
        found = []
        for name, module in self.modules.items():
            if id(module) not in seen and not is_model_wrapper(module):
                seen.add(id(module))
                found.append((self.paths[name], module))
        return found


class _Known:
    """Tensors, to find those that are there twice: one object, or one memory seen the same way."""

    def __init__(self) -> None:
        self._first: dict[object, Slot] = {}

    def first(self, place: Slot) -> Slot:
        """The first place where this tensor was met; this one, if it was not."""
        tensor = place.tensor
        memory = _memory_of(tensor)
        first = self._first.setdefault(memory, place)  # most have theirs for themselves
        if first is place or first.tensor is tensor or _view_of(first.tensor) == _view_of(tensor):
            return first
        return self._first.setdefault((memory, _view_of(tensor)), place)


def _memory_of(tensor: Tensor) -> int:
    """The number of a storage, on meta, too, where there are no addresses; else of the tensor."""
    try:
        storage: int = tensor.untyped_storage()._cdata
    except (RuntimeError, ValueError, NotImplementedError):  # lazy, fake or sparse: no storage
        return id(tensor)
    return storage if tensor.numel() else id(tensor)


def _view_of(tensor: Tensor) -> object:
    return tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def join(above: str, below: str) -> str:
    """Dotted name of two parts, either of which may be empty."""
    return f"{above}.{below}" if above and below else above or below
