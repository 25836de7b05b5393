"""What `build` and `recording` share: a recorder with a seed, and a planner of what it noted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import nn

from initium import zero3
from initium.errors import InitError
from initium.planning import Planner
from initium.record import Recorder, covers, is_plain
from initium.seeds import fresh_seed_within, undrawn_on_error
from initium.streams import Seed, check_seed
from initium.tree import Slot
from initium.writes import RULE, Write


@contextmanager
def new_recorder(seed: Seed | None, exact: bool, builds: bool = False) -> Iterator[Recorder]:
    """A recorder with a seed, or, where it is exact, with torch's generators."""
    if exact and seed is not None:
        raise InitError(
            f"exact=True draws from torch's default generators, where seed={seed!r} has no effect; "
            "call torch.manual_seed first, and leave seed out"
        )
    check_seed(0 if seed is None else seed)
    if exact:
        with undrawn_on_error():
            yield Recorder(0, exact=True, builds=builds)
        return
    # in an outer recording, a fresh one comes from its own randomness
    known = fresh_seed_within() if seed is None else nullcontext(seed)
    with known as number:
        yield Recorder(number, builds=builds)


def planner_of(model: nn.Module, recorder: Recorder, name: str = "") -> Planner:
    """A planner that takes what was noted; `name` sets the seed of one model of several apart."""
    zero3.check_recorded(model)
    if recorder.exact:
        return Planner(model, None, "torch", recorder)
    return Planner(model, (recorder.seed, name) if name else recorder.seed, recorder=recorder)


@contextmanager
def undone_on_error(recorder: Recorder) -> Iterator[None]:
    """Put memory back that was there before, where the code that is recorded fails."""
    try:
        yield
    except BaseException:
        recorder.restore()
        raise


def is_missing(recorder: Recorder, slot: Slot, writes: list[Write]) -> bool:
    """Whether the memory of a tensor has not got its values yet."""
    if slot.tensor.is_meta:
        return False  # the constructor's own wish
    if not is_plain(slot.tensor) or any(write.by == RULE for write in writes):
        return True
    record = recorder.known(slot.tensor)
    if recorder.exact:
        return False
    alone = covers(slot.tensor, slot.tensor.untyped_storage().nbytes())
    return record is None or not record.born or record.pending or not alone
