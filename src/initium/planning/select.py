"""Rule x model -> the tensors it means, each with the initializer it gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property

from torch import nn

from initium.config import Rule
from initium.errors import InitNameError, did_you_mean, listing, near_or_some
from initium.initializers import Constant, Declaration, Initializer
from initium.selectors import (
    ancestors,
    compile_pattern,
    computed_weights,
    is_layer,
    layer_tensors,
    matches,
)
from initium.tree import Slot, Tree, is_model_wrapper, wrapped_as

Target = tuple[Slot, Initializer]
Note = Callable[[str], None]


class Selection:
    """The tensors that declarations mean in the subtree of one module.

    Args:
        tree: of the whole model.
        path: the path of the module that the declarations belong to.
        module: that module.
        note: told of every selector that matches nothing.
    """

    def __init__(self, tree: Tree, path: str, module: nn.Module, note: Note) -> None:
        self.tree, self.path, self.note = tree, path, note
        self.outer, self.module = module, unwrapped(module)

    @cached_property
    def modules(self) -> list[nn.Module]:
        """The modules of the subtree, wrappers left out."""
        return [m for m in self.outer.modules() if not is_model_wrapper(m)]

    def of(self, rule: Rule, declared: Declaration) -> list[Target]:
        """The tensors that a rule, or an override, means."""
        if rule.scope is not None:
            return self._scope(rule.scope, declared)
        if declared.ownmodule:
            return self._layers([self.module], declared)
        if declared.wholemodule:
            return self._layers(self.modules, declared)
        layers = self._layers_named(declared.layer)
        if declared.name:
            return self._named(declared, layers)
        return self._layers(layers, declared)

    def _layers(self, layers: list[nn.Module], declared: Declaration) -> list[Target]:
        by_role = {"weight": declared.initializer, "bias": Constant(declared.bias)}
        found, computed = {}, []
        for layer in layers:
            for owner, local, role in layer_tensors(layer):
                found[self.tree.at[id(owner), local]] = by_role[role]
            computed += [
                f"{weight} of a {type(layer).__name__}" for weight in computed_weights(layer)
            ]
        for weight in computed:
            self.note(
                f"{weight} is computed from other tensors and is not set; "
                "use name= for those tensors"
            )
        # a function on one module leaves it as it is where there is nothing to set
        if layers and not found and not computed and not declared.ownmodule:
            classes = listing(sorted({type(layer).__name__ for layer in layers}))
            self.note(f"it sets nothing: there is no weight and no bias in {classes}")
        return list(found.items())

    def _layers_named(self, names: list[str | type]) -> list[nn.Module]:
        for name in names:
            if not any(is_layer(module, name) for module in self.modules):
                classes = [cls.__name__ for m in self.modules for cls in ancestors(m)]
                text = name if isinstance(name, str) else name.__name__
                self.note(
                    f"layer {text!r} is no class in {type(self.module).__name__}."
                    f"{did_you_mean(text, classes)} "
                    f"Its classes: {listing(sorted(set(classes)))}"
                )
        return [m for m in self.modules if any(is_layer(m, name) for name in names)]

    def _named(self, declared: Declaration, layers: list[nn.Module]) -> list[Target]:
        owners = {id(owner) for layer in layers for owner in (layer, *_parts(layer))}
        found = {}
        for text in declared.name:
            pattern = compile_pattern(text)
            slots = [
                slot
                for owner, slot in self._slots()
                if (not declared.layer or id(owner) in owners) and self._matches(pattern, slot)
            ]
            if not slots:
                self.note(
                    f"name {text!r} matches no parameter of {type(self.module).__name__}"
                    f"{' in these layers' if declared.layer else ''}."
                    f"{did_you_mean(text, (self._relative(s.path) for _, s in self._slots()))}"
                )
            found.update(dict.fromkeys(slots, declared.initializer))
        return list(found.items())

    def _slots(self) -> Iterator[tuple[nn.Module, Slot]]:
        for module in self.modules:
            for local, tensor in module._parameters.items():
                if tensor is not None:
                    yield module, self.tree.at[id(module), local]

    def _matches(self, pattern: re.Pattern[str], slot: Slot) -> bool:
        return any(matches(pattern, self._relative(name)) for name in slot.names)

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{self.path}.") if self.path else path

    def _scope(self, scope: str, declared: Declaration) -> list[Target]:
        found = self.resolve(scope)
        if isinstance(found, Slot):
            return [(found, declared.initializer)]
        return self._layers([m for m in found.modules() if not is_model_wrapper(m)], declared)

    def resolve(self, scope: str) -> nn.Module | Slot:
        """The submodule or tensor that the `name` of an override means.

        Raises:
            InitNameError: a RuntimeError; there is none, or it is something else.
        """
        found: nn.Module | Slot = self.module
        for attribute in scope.split("."):
            step = self._step(found, attribute)
            if step is None:
                known = [name for names in self._below() for name in names]
                raise InitNameError(
                    f"module {type(self.module).__name__} has no submodule or parameter {scope!r}, "
                    f"which an override names.{near_or_some(scope, known)}"
                )
            found = step
        return found

    def _below(self) -> Iterator[tuple[str, ...]]:
        for name, _ in self.module.named_modules():
            yield (name,) if name else ()
        for name, _ in self.module.named_parameters():
            yield (name,)

    def _step(self, found: nn.Module | Slot, attribute: str) -> nn.Module | Slot | None:
        if isinstance(found, Slot):
            return None
        if attribute in found._modules:
            return found._modules[attribute]
        found = unwrapped(found)
        if found._parameters.get(attribute) is not None:
            return self.tree.at[id(found), attribute]
        return found._modules.get(attribute)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside of data parallel, FSDP and compile wrappers."""
    while (attribute := wrapped_as(module)) is not None:
        inner = module._modules[attribute]
        assert inner is not None
        module = inner
    return module


def _parts(layer: nn.Module) -> Iterator[nn.Module]:
    """Modules that count as part of a layer (see `initium.selectors.layer_tensors`)."""
    return (owner for owner, _, _ in layer_tensors(layer))
