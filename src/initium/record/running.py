"""Operations that cannot be noted: they run, on what the notes say so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from initium.record.geometry import is_plain
from initium.record.kinds import name_of
from initium.record.random import is_default
from initium.record.recorder import Recorder
from initium.streams import one_thread
from initium.tree import is_lazy

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
# what batch normalisation writes to in training, though most of its operations do not declare it
_STATISTICS = ("running_mean", "running_var")


def run_now(
    recorder: Recorder, func: Any, args: Args, kwargs: Kwargs, overwritten: Tensor | None = None
) -> Any:
    """Anything else runs, on what the notes say; what it writes is known to the memory alone."""
    for memory in _behind([*args, *kwargs.values()]):
        recorder.settle_for_others(memory)
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
    for memory in _behind([result]):
        recorder.settle_for_others(memory)
    for out in _tensors([result]):
        if recorder.known(out) is None:
            recorder.birth(out)
            recorder.capture(out, name)
    return result


def born(
    recorder: Recorder,
    func: Any,
    args: Args,
    kwargs: Kwargs,
    allocate: Callable[[], Tensor],
    note: Callable[[Tensor], bool],
) -> Any:
    """A new tensor: its memory is allocated, and `note` says whether its values could be noted."""
    if not recorder.exact:
        out = allocate()
        if is_plain(out):
            recorder.birth(out)
            if note(out):
                return out
        return run_now(recorder, func, args, kwargs)
    out = func(*args, **kwargs)
    if is_plain(out):
        record = recorder.birth(out)
        if note(out):
            record.settled = len(record.writes)
        else:
            recorder.capture(out, name_of(func))
    return out


def _run(recorder: Recorder, func: Any, args: Args, kwargs: Kwargs) -> Any:
    random = torch.Tag.nondeterministic_seeded in func.tags
    by_torch = recorder.exact or recorder.draws_by_default()
    if random and not by_torch and is_default(kwargs.get("generator")):
        kwargs = {k: v for k, v in kwargs.items() if k != "generator"}
        return recorder.random.run(func, args, kwargs)
    if recorder.exact:
        return func(*args, **kwargs)
    with one_thread():
        return func(*args, **kwargs)


def _written(func: Any, args: Args, kwargs: Kwargs) -> list[Tensor]:
    arguments = func._schema.arguments
    names = [argument.name for argument in arguments]
    given = {**kwargs, **dict(zip(names, args, strict=False))}
    training = given.get("training", name_of(func) == "batch_norm_update_stats")
    unsaid = _STATISTICS if training is True else ()
    return _tensors(
        given.get(argument.name)
        for argument in arguments
        if argument.name in unsaid
        or (argument.alias_info is not None and argument.alias_info.is_write)
    )


def settle_all(recorder: Recorder, values: Iterable[Any]) -> None:
    """Make the memory of tensors that will be read what the notes say."""
    with recorder.off():
        for tensor in _tensors(values):
            recorder.settle(recorder.record(tensor), tensor)


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The plain tensors among arguments or results, which may be lists of them."""
    return [tensor for tensor in _flat(values) if is_plain(tensor)]


def _behind(values: Iterable[Any]) -> list[Tensor]:
    """The memory of the others: of a conjugate, of the parts of a sparse one."""
    return [memory for tensor in _flat(values) if not is_plain(tensor) for memory in _parts(tensor)]


def _parts(tensor: Tensor) -> list[Tensor]:
    if tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        return []
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout is torch.sparse_csr:
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout is not torch.strided or is_lazy(tensor):
        return []
    memory = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    storage, offset = tensor.untyped_storage(), tensor.storage_offset()
    return [memory.set_(storage, offset, tensor.shape, tensor.stride())]


def _flat(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _flat(value)
