"""What torch tells the recorder: every operation that it dispatches, every escape of memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode  # the documented way to see every op

from initium.here import HERE
from initium.record import births, noting, patches
from initium.record.geometry import dispatches, is_plain
from initium.record.kinds import Kind, kind_of
from initium.record.recorder import Recorder
from initium.record.running import Args, Kwargs, run_now, settle_all

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
# The memory is read, without an operation that could be seen: that of the first argument, or of
# tensors that it lists. (As numbers tensors are read by `torch.Tensor([x, y])`.)
READS = frozenset((
    Tensor.tolist, Tensor.__deepcopy__, Tensor.__repr__,
    Tensor.__float__, Tensor.__int__, Tensor.__index__, Tensor.__bool__, Tensor.__complex__,
))  # fmt: skip
# Python computes the elements of the first argument, one by one.
ELEMENTWISE: dict[Any, str] = {
    Tensor.apply_: "apply_",
    Tensor.map_: "map_",
    Tensor.map2_: "map2_",
}
READ_LISTS = frozenset((torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor))


@contextmanager
def recorded_by(recorder: Recorder) -> Iterator[None]:
    """Tell the recorder of all that this thread does with tensors within."""
    outer = cast("Recorder | None", HERE.recorder)
    if outer is recorder:  # user code that was started by user code
        with recorder.resumed():
            yield
        return
    HERE.recorder, recorder.parent = recorder, outer
    hide_from_compiler()
    try:
        with patches.applied(hide_from_compiler), _Operations(recorder), _Escapes(recorder):
            with outer.off() if outer else nullcontext():
                yield
    finally:
        HERE.recorder, recorder.parent = outer, None


class _Escapes(TorchFunctionMode):
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        recorder, run = self.recorder, partial(func, *args, **(kwargs or {}))
        if recorder.paused:
            return run()
        if func in READ_LISTS or func in ELEMENTWISE:
            settle_all(recorder, (*args, *run.keywords.values()))
        elif func in READS:
            settle_all(recorder, args[:1])
        elif func in ESCAPES and is_plain(args[0]):
            recorder.escape(args[0], ESCAPES[func])
        unseen = func in ELEMENTWISE and is_plain(args[0])
        return recorder.run_unseen(args[0], ELEMENTWISE[func], run) if unseen else run()


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
        if any(map(_has_parts, types)):
            return NotImplemented  # what is done to its parts comes here again
        recorder.paused = True  # what the handlers do with tensors is not the user's doing
        try:
            return _HANDLERS[kind_of(func)](recorder, func, args, kwargs)
        finally:
            recorder.paused = False


@cache
def _has_parts(kind: Any) -> bool:
    """Whether tensors of a class are made of others, and say what an operation does to these."""
    return dispatches(kind) and not kind.__module__.startswith("torch._subclasses.")  # no values


_IN_THE_OPEN = _Operations.__torch_dispatch__


def hide_from_compiler() -> None:
    """Have torch's compiler, once it is loaded, not look into the recorder."""
    if "torch._dynamo" in sys.modules and _Operations.__torch_dispatch__ is _IN_THE_OPEN:
        hidden = torch.compiler.disable(_IN_THE_OPEN)  # type: ignore[no-untyped-call]  # torch's
        _Operations.__torch_dispatch__ = hidden  # type: ignore[method-assign]


def pass_on(_: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """No value is read or written."""
    return func(*args, **kwargs)


_HANDLERS: dict[Kind, Callable[[Recorder, Any, Args, Kwargs], Any]] = {
    Kind.VIEW: pass_on,
    Kind.LIFT: births.lift,
    Kind.EMPTY: births.empty,
    Kind.FULL: births.full,
    Kind.DRAWN: births.drawn,
    Kind.FILL: noting.note_fill,
    Kind.POINTWISE_: noting.pointwise_,
    Kind.POINTWISE: noting.pointwise,
    Kind.COPY: noting.note_copy,
    Kind.OTHER: run_now,
}
