"""Operations that make new tensors: their memory is allocated, their values are noted."""

from __future__ import annotations

from typing import Any

import torch

from initium.initializers import Constant, Initializer, Normal, Uniform
from initium.record import reserve
from initium.record.geometry import is_plain
from initium.record.kinds import name_of
from initium.record.random import is_default
from initium.record.recorder import Recorder
from initium.record.running import Args, Kwargs, born, run_now

aten = torch.ops.aten


def lift(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """A tensor was made of Python data, or of memory that others own."""
    out = func(*args, **kwargs)
    if is_plain(out) and recorder.known(out) is None:
        # memory that others own, too (an array of NumPy), can be written without our seeing it
        recorder.birth(out).escaped = not out.untyped_storage().resizable()
        if out.numel() == 1 and not out.is_complex():
            recorder.fill(out, Constant(out.item()))
        record = recorder.record(out)
        if record.writes:
            record.settled = len(record.writes)
        else:
            recorder.capture(out, "tensor")
    return out


def empty(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """Memory is allocated and left as it is."""
    out = reserve.allocate(func, args, kwargs)
    if is_plain(out):
        recorder.birth(out)
    return out


def full(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """A new tensor of one value: zeros, ones, full and their relatives."""
    name = name_of(func)
    value = args[-1] if "full" in name else (1 if "ones" in name else 0)
    rest = args[:-1] if "full" in name else args
    if name == "full" and kwargs.get("dtype") is None and is_real(value):
        kwargs = {**kwargs, "dtype": _dtype_of(value)}
    return _born(recorder, func, args, kwargs, rest, Constant(value) if is_real(value) else None)


def drawn(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """A new tensor of random values: rand, randn and their relatives."""
    if not is_default(kwargs.get("generator")):
        return run_now(recorder, func, args, kwargs)
    initializer = Normal(0, 1) if name_of(func).startswith("randn") else Uniform(0, 1)
    return _born(recorder, func, args, kwargs, args, initializer)


def _born(
    recorder: Recorder,
    func: Any,
    args: Args,
    kwargs: Kwargs,
    empty_args: Args,
    initializer: Initializer | None,
) -> Any:
    """A new tensor whose values are noted: it is allocated, as `torch.empty` would."""
    if initializer is None or kwargs.get("layout") not in (None, torch.strided):
        return run_now(recorder, func, args, kwargs)
    name = name_of(func)
    empty = aten.empty_like.default if name.endswith("_like") else aten.empty.memory_format
    if name.startswith("new_"):
        empty = aten.new_empty.default
    return born(
        recorder, func, args, kwargs,
        allocate=lambda: reserve.allocate(empty, empty_args, _without_generator(kwargs)),
        note=lambda out: recorder.fill(out, initializer),
    )  # fmt: skip


def _without_generator(kwargs: Kwargs) -> Kwargs:
    return {name: value for name, value in kwargs.items() if name != "generator"}


def is_real(value: Any) -> bool:
    """Whether a value is a number that an initializer can hold."""
    return isinstance(value, (bool, int, float))


def _dtype_of(value: Any) -> torch.dtype:
    if isinstance(value, bool):
        return torch.bool
    return torch.int64 if isinstance(value, int) else torch.get_default_dtype()
