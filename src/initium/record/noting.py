"""Operations on tensors that are noted: fills, elementwise arithmetic with scalars, copies."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from initium.initializers import Constant, Initializer, Normal, Uniform
from initium.record.births import is_real
from initium.record.geometry import is_all, is_plain
from initium.record.kinds import name_of
from initium.record.random import is_default
from initium.record.recorder import Recorder
from initium.record.running import Args, Kwargs, born, run_now


def note_fill(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """fill_, zero_, normal_, uniform_ on a tensor or a view."""
    initializer = _initializer(recorder, func, args, kwargs)
    if initializer is not None and is_plain(args[0]) and recorder.fill(args[0], initializer):
        recorder.run_too(args[0], partial(func, *args, **kwargs))
        return args[0]
    return run_now(recorder, func, args, kwargs)


def _initializer(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Initializer | None:
    name = name_of(func)
    if kwargs and not is_default(kwargs.get("generator")):
        return None  # the user's own generator: it shall be drawn from, now
    if name == "zero_":
        return Constant(0)
    if name == "fill_":
        return _constant(recorder, args[1])
    return _distribution(name, *args[1:])


@lru_cache(maxsize=4096)
def _distribution(name: str, first: Any = 0, second: Any = 1) -> Initializer | None:
    try:
        return (Normal if name == "normal_" else Uniform)(first, second)
    except ValueError:  # torch shall say what is wrong
        return None


def _constant(recorder: Recorder, value: Any) -> Initializer | None:
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_meta or not is_plain(value) or value.is_complex():
            return None
        recorder.settle(recorder.known(value), value)
        value = value.item()
    return Constant(value) if is_real(value) else None


def pointwise_(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """Elementwise in place, with scalars only."""
    name = name_of(func).removesuffix("_")
    # of whole numbers torch refuses to make fractions in place
    arguments = _scalars(name, args, kwargs) if args[0].is_floating_point() else None
    if arguments is not None and is_plain(args[0]) and recorder.follow(args[0], name, arguments):
        recorder.run_too(args[0], partial(func, *args, **kwargs))
        return args[0]
    return run_now(recorder, func, args, kwargs)


def pointwise(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """Elementwise into a new tensor, with scalars only; a copy; a cast."""
    name = name_of(func)
    copy = name in ("clone", "_to_copy")
    arguments = () if copy else _scalars(name, args, kwargs)
    if arguments is None or not is_plain(args[0]) or not _copyable(recorder, args[0], kwargs):
        return run_now(recorder, func, args, kwargs)

    def note(out: Tensor) -> bool:
        noted = (copy or out.dtype == args[0].dtype) and recorder.copy(out, args[0])
        return noted and (copy or recorder.follow(out, name, arguments))

    return born(recorder, func, args, kwargs, lambda: _like(args[0], func, args, kwargs), note)


def _copyable(recorder: Recorder, tensor: Tensor, kwargs: Kwargs) -> bool:
    record = recorder.known(tensor)
    if record is None or not record.writes or record.captured or recorder.generators is not None:
        return False
    if kwargs.get("memory_format") not in (None, torch.preserve_format, torch.contiguous_format):
        return False
    return is_all(tensor) and kwargs.get("device") in (None, tensor.device)


def _like(tensor: Tensor, func: Any, args: Args, kwargs: Kwargs) -> Tensor:
    """An empty tensor such as the operation would return."""
    one = torch.empty((1,) * tensor.dim(), dtype=tensor.dtype, device="meta")
    dtype = func(one, *args[1:], **{k: v for k, v in kwargs.items() if k != "device"}).dtype
    return torch.empty_like(tensor, dtype=dtype)


def note_copy(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """copy_ of one whole tensor to another."""
    target, values = args[:2]
    if values.numel() == 1 and values.dim() <= target.dim() and is_plain(target):
        initializer = _constant(recorder, values)
        if initializer is not None and recorder.fill(target, initializer):
            recorder.run_too(target, partial(func, *args, **kwargs))
            return target
    plain = is_plain(target) and is_plain(values) and recorder.generators is None
    if plain and target.device == values.device and recorder.copy(target, values):
        recorder.run_too(target, partial(func, *args, **kwargs))
        return target
    overwritten = is_plain(target) and is_all(target) and not _share(target, values)
    return run_now(recorder, func, args, kwargs, target if overwritten else None)


def _share(one: Tensor, other: Tensor) -> bool:
    return is_plain(other) and one.untyped_storage()._cdata == other.untyped_storage()._cdata


def _scalars(name: str, args: Args, kwargs: Kwargs) -> tuple[Any, ...] | None:
    """The scalar arguments of an elementwise operation; None where there are others."""
    values, others = list(args[1:]), dict(kwargs)
    if name in ("add", "sub", "rsub"):
        alpha = values.pop() if len(values) > 1 else others.pop("alpha", 1)
        if alpha != 1:  # which torch multiplies in a way of its own
            return None
    if name == "clamp":
        low, high = [*values, None, None][:2]
        values = [others.pop("min", low), others.pop("max", high)]
    return None if others or not all(v is None or is_real(v) for v in values) else tuple(values)
