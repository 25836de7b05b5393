"""What torch tells the recorder: every operation that it dispatches, every escape of memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode  # the documented way to see every op

from initium.initializers import Constant, Initializer, Normal, Uniform
from initium.record import patches, reserve
from initium.record.kinds import Kind, kind_of, name_of
from initium.record.random import is_default
from initium.record.recorder import Recorder, is_all, is_plain

aten = torch.ops.aten

# The memory gets known outside of torch: from then on anything may write to it.
ESCAPES: dict[Any, str] = {
    Tensor.numpy: "numpy",
    Tensor.__array__: "numpy",
    Tensor.data_ptr: "data_ptr",
    Tensor.untyped_storage: "untyped_storage",
    Tensor.storage: "storage",
    Tensor.__dlpack__: "DLPack",
    Tensor.share_memory_: "share_memory_",
    Tensor.__reduce_ex__: "pickle",
}
# The memory is read, without an operation that could be seen.
READS = frozenset((Tensor.tolist, Tensor.__deepcopy__))


@contextmanager
def watching(recorder: Recorder) -> Iterator[None]:
    """Tell the recorder of all that this thread does with tensors."""
    hide_from_compiler()
    with patches.applied(hide_from_compiler), _Operations(recorder), _Escapes(recorder):
        yield


class _Escapes(TorchFunctionMode):
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if (func in ESCAPES or func in READS) and not self.recorder.paused and is_plain(args[0]):
            with self.recorder.off():
                if func in ESCAPES:
                    self.recorder.escape(args[0], ESCAPES[func])
                else:
                    self.recorder.settle(self.recorder.record(args[0]), args[0])
        return func(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is untyped
        self.recorder = recorder

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # torch would import its compiler to hide this from it, which takes seconds
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        recorder = self.recorder
        if recorder.paused:
            return func(*args, **kwargs)
        recorder.paused = True  # what the handlers do with tensors is not the user's doing
        try:
            return _HANDLERS[kind_of(func)](recorder, func, args, kwargs)
        finally:
            recorder.paused = False


_IN_THE_OPEN = _Operations.__torch_dispatch__


def hide_from_compiler() -> None:
    """Have torch's compiler, once it is loaded, not look into the recorder."""
    if "torch._dynamo" in sys.modules and _Operations.__torch_dispatch__ is _IN_THE_OPEN:
        hidden = torch.compiler.disable(_IN_THE_OPEN)  # type: ignore[no-untyped-call]  # torch's
        _Operations.__torch_dispatch__ = hidden  # type: ignore[method-assign]


Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def _view(_: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """No value is read or written."""
    return func(*args, **kwargs)


def _lift(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
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


def _empty(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """Memory is allocated and left as it is."""
    out = reserve.allocate(func, args, kwargs)
    if is_plain(out):
        recorder.birth(out)
    return out


def _full(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """A new tensor of one value: zeros, ones, full and their relatives."""
    name = name_of(func)
    value = args[-1] if "full" in name else (1 if "ones" in name else 0)
    rest = args[:-1] if "full" in name else args
    if name == "full" and kwargs.get("dtype") is None:
        kwargs = {**kwargs, "dtype": _dtype_of(value)}
    return _born(recorder, func, args, kwargs, rest, Constant(value) if _real(value) else None)


def _drawn(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """A new tensor of random values: rand, randn and their relatives."""
    kwargs = dict(kwargs)
    generator = kwargs.pop("generator", None)
    normal = "randn" in func._schema.name
    initializer = (Normal(0, 1) if normal else Uniform(0, 1)) if is_default(generator) else None
    kwargs_with = kwargs if generator is None else {**kwargs, "generator": generator}
    return _born(recorder, func, args, kwargs_with, args, initializer, kwargs)


def _born(
    recorder: Recorder,
    func: Any,
    args: Args,
    kwargs: Kwargs,
    empty_args: Args,
    initializer: Initializer | None,
    empty_kwargs: Kwargs | None = None,
) -> Any:
    """A new tensor whose values are noted: it is allocated, as `torch.empty` would."""
    if initializer is None or kwargs.get("layout") not in (None, torch.strided):
        return _other(recorder, func, args, kwargs)
    name = name_of(func)
    empty = aten.empty_like.default if name.endswith("_like") else aten.empty.memory_format
    if name.startswith("new_"):
        empty = aten.new_empty.default
    out = reserve.allocate(empty, empty_args, kwargs if empty_kwargs is None else empty_kwargs)
    if not is_plain(out):
        return _other(recorder, func, args, kwargs)
    recorder.birth(out)
    if not recorder.fill(out, initializer):
        return _other(recorder, func, args, kwargs)
    recorder.later(_fill_by_torch, out, initializer)
    return out


def _fill_by_torch(out: Tensor, initializer: Initializer) -> Tensor:
    if isinstance(initializer, Normal):
        return out.normal_(initializer.mean, initializer.std)
    if isinstance(initializer, Uniform):
        return out.uniform_(initializer.a, initializer.b)
    assert isinstance(initializer, Constant)
    return out.fill_(initializer.val)


def _fill(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """fill_, zero_, normal_, uniform_ on a tensor or a view."""
    initializer = _initializer(recorder, func, args, kwargs)
    if initializer is not None and is_plain(args[0]) and recorder.fill(args[0], initializer):
        recorder.later(partial(func, **kwargs), *args)
        return args[0]
    return _other(recorder, func, args, kwargs)


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
    return Constant(value) if _real(value) else None


def _pointwise_(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """Elementwise in place, with scalars only."""
    name = name_of(func).removesuffix("_")
    arguments = _scalars(name, args, kwargs)
    if arguments is not None and is_plain(args[0]) and recorder.follow(args[0], name, arguments):
        recorder.later(partial(func, **kwargs), *args)
        return args[0]
    return _other(recorder, func, args, kwargs)


def _pointwise(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """Elementwise into a new tensor, with scalars only; a copy; a cast."""
    name = name_of(func)
    copy = name in ("clone", "_to_copy")
    arguments = () if copy else _scalars(name, args, kwargs)
    if arguments is None or not is_plain(args[0]) or not _copyable(recorder, args[0], kwargs):
        return _other(recorder, func, args, kwargs)
    out = _like(args[0], func, args, kwargs)
    recorder.birth(out)
    noted = (copy or out.dtype == args[0].dtype) and recorder.copy(out, args[0])
    if not noted or not (copy or recorder.follow(out, name, arguments)):
        return _other(recorder, func, args, kwargs)
    recorder.later(lambda new, *now: new.copy_(func(*now, **kwargs)), out, *args)
    return out


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


def _copy(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """copy_ of one whole tensor to another."""
    target, values = args[:2]
    if values.numel() == 1 and is_plain(target):
        initializer = _constant(recorder, values)
        if initializer is not None and recorder.fill(target, initializer):
            recorder.later(partial(func, **kwargs), *args)
            return target
    plain = is_plain(target) and is_plain(values) and recorder.generators is None
    if plain and target.device == values.device and recorder.copy(target, values):
        recorder.later(partial(func, **kwargs), *args)
        return target
    overwritten = is_plain(target) and is_all(target) and not _share(target, values)
    return _other(recorder, func, args, kwargs, target if overwritten else None)


def _share(one: Tensor, other: Tensor) -> bool:
    return is_plain(other) and one.untyped_storage()._cdata == other.untyped_storage()._cdata


def _other(
    recorder: Recorder, func: Any, args: Args, kwargs: Kwargs, overwritten: Tensor | None = None
) -> Any:
    """Anything else runs, on what the notes say; what it writes is known to the memory alone."""
    recorder.finish_program()  # random values are drawn in program order
    for tensor in _tensors([*args, *kwargs.values()]):
        if tensor is not overwritten:
            recorder.settle(recorder.record(tensor), tensor)
    written = _written(func, args, kwargs)
    for tensor in written:
        recorder.record(tensor).save(tensor)
    result = _run(recorder, func, args, kwargs)
    name = name_of(func)
    for tensor in written:
        recorder.capture(tensor, name)
    for out in _tensors([result]):
        if recorder.known(out) is None:
            recorder.birth(out)
            recorder.capture(out, name)
    return result


def _run(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    random = torch.Tag.nondeterministic_seeded in func.tags
    if random and recorder.program is None and is_default(kwargs.get("generator")):
        kwargs = {k: v for k, v in kwargs.items() if k != "generator"}
        return recorder.random.run(func, args, kwargs)
    if recorder.program is not None:
        return func(*args, **kwargs)
    with _one_thread():
        return func(*args, **kwargs)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The last bits of sums and decompositions depend on how many threads share them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _written(func: Any, args: Args, kwargs: Kwargs) -> list[Tensor]:
    found = []
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            found += _tensors([value])
    return found


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The plain tensors among arguments or results, which may be lists of them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found += [value] if is_plain(value) else []
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found


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
    return None if others or not all(v is None or _real(v) for v in values) else tuple(values)


def _real(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _dtype_of(value: Any) -> torch.dtype:
    if isinstance(value, bool):
        return torch.bool
    return torch.int64 if isinstance(value, int) else torch.get_default_dtype()


_HANDLERS: dict[Kind, Callable[[Recorder, Any, Args, Kwargs], Any]] = {
    Kind.VIEW: _view, Kind.LIFT: _lift, Kind.EMPTY: _empty, Kind.FULL: _full, Kind.DRAWN: _drawn,
    Kind.FILL: _fill, Kind.POINTWISE_: _pointwise_, Kind.POINTWISE: _pointwise, Kind.COPY: _copy,
    Kind.OTHER: _other,
}  # fmt: skip
