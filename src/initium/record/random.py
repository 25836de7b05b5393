"""The recording's own randomness, for operations whose values are needed at once."""

from __future__ import annotations

from typing import Any

import torch

from initium.streams import Seed, key_of


class OwnRandomness:
    """Generators that are seeded with the recording's seed, one a device.

    Operations get values from them in program order; torch's default generators are left as they
    were found.
    """

    def __init__(self, seed: Seed) -> None:
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device) -> torch.Generator:
        """The generator of a device."""
        if device not in self._generators:
            key = key_of(self.seed, f"generator of the recording on {device.type}")
            # 63 bits: torch takes a signed number
            self._generators[device] = torch.Generator(device).manual_seed(key >> 1)
        return self._generators[device]

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation that draws random values."""
        device = _device(args, kwargs)
        if device.type == "meta":
            return func(*args, **kwargs)
        generator = self.on(device)
        seeded = _with_generator(func)
        if seeded is not None:
            return seeded(*args, **{**kwargs, "generator": generator})
        return self._in_place_of_the_default(func, args, kwargs, generator)

    @staticmethod
    def _in_place_of_the_default(
        func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], own: torch.Generator
    ) -> Any:
        """Run an operation that knows the default generator only (dropout)."""
        default = default_generator(own.device)
        before = default.get_state()
        default.set_state(own.get_state())
        try:
            return func(*args, **kwargs)
        finally:
            own.set_state(default.get_state())
            default.set_state(before)


def is_default(generator: torch.Generator | None) -> bool:
    """Whether a generator is the default one of its device, or none is named."""
    # dispatch hands over an object of its own for the same generator
    return generator is None or _number(generator) == _number(default_generator(generator.device))


def _number(generator: torch.Generator) -> int:
    number: int = generator._cdata  # type: ignore[attr-defined]  # torch's stubs lack it
    return number


def default_generator(device: torch.device) -> torch.Generator:
    """The default generator of a device."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    return torch.default_generator


def _with_generator(func: Any) -> Any:
    """The overload of an operation that takes a generator and else the same arguments."""
    names = {argument.name for argument in func._schema.arguments} | {"generator"}
    for name in (func._overloadname, *func.overloadpacket.overloads()):
        found = getattr(func.overloadpacket, name)
        if {argument.name for argument in found._schema.arguments} == names:
            return found
    return None


def _device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    tensors = (arg for arg in args if isinstance(arg, torch.Tensor))
    return next((tensor.device for tensor in tensors), torch.get_default_device())
