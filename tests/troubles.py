"""What ranks of a cluster do that disagree, fail or die; and seeds that nobody has given."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import RowwiseParallel, parallelize_module

import initium
from engines import mesh_of, tensors_of, whole
from families import FAMILIES
from initium import writing

RULES = [
    dict(type="Normal", layer="Linear", std=0.02),
    dict(type="Uniform", name="2.weight", a=-1, b=1),
]


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3))


def built(factory: Callable[[], nn.Module] = net, **options) -> nn.Module:
    """A model on meta over half of the ranks, and a copy of it over the other half."""
    model = initium.build(factory, device="meta", **dict(dict(seed=5), **options))
    return fully_shard(model, mesh=halves())


@lru_cache
def halves() -> DeviceMesh:
    return mesh_of(dict(copy=2, shard=dist.get_world_size() // 2))


def local_of(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@contextmanager
def dying(how: Callable[[], None], rank: int) -> Iterator[None]:
    """One rank meets its end when it comes to draw."""
    fill = writing.streams.fill

    def ending(*args):
        if dist.get_rank() == rank:
            how()
        fill(*args)

    with patch.object(writing.streams, "fill", ending):
        yield


# each makes an error of its own on some rank, given (rank, a model with memory, one on meta)


def _another_seed(rank, model, empty):
    initium.materialize(empty, device="cpu", seed=5 if rank < 3 else 6)


def _another_seed_again(rank, model, empty):
    initium.initialize(model, RULES, seed=("a", rank // 2))  # copies that would not be equal


def _another_std(rank, model, empty):
    rules = [RULES[0], dict(RULES[1], b=2)] if rank == 1 else RULES
    initium.initialize(model, rules, seed=5)


def _another_plan(rank, model, empty):
    rules = RULES if rank != 2 else [dict(type="Uniform", layer="Linear", a=0, b=1)]
    initium.materialize(built(init_cfg=rules), device="cpu")


def _one_more_tensor(rank, model, empty):
    if rank == 2:
        model.register_parameter("late", nn.Parameter(torch.zeros(3)))
    initium.initialize(model, dict(type="Constant", name="**.*", val=1), seed=5)


def _a_typing_error(rank, model, empty):
    initium.initialize(model, dict(RULES[0], std="0.02" if rank == 3 else 0.02), seed=5)


def _no_checkpoint(rank, model, empty):
    here = os.environ["CHECKPOINT"] if rank != 1 else "/nowhere/model.pth"
    initium.initialize(model, dict(type="Pretrained", checkpoint=here), seed=5)


def _no_memory(rank, model, empty):
    def fail():
        raise MemoryError("no more")

    with dying(fail, rank=2):
        initium.materialize(empty, device="cpu")


def _generators(rank, model, empty):
    initium.initialize(model, RULES, seed=5, rng="torch")


TROUBLES = {
    trouble.__name__[1:].replace("_", " "): trouble
    for trouble in (
        _another_seed,
        _another_seed_again,
        _another_std,
        _another_plan,
        _one_more_tensor,
        _a_typing_error,
        _no_checkpoint,
        _no_memory,
        _generators,
    )
}


def disagree(checkpoint: Path) -> dict[str, tuple[str, str, list[str]]]:
    """One trouble after the other: the error of this rank, and what is not as it was before."""
    if dist.get_rank() == 0:
        torch.save(net().state_dict(), checkpoint)
    dist.barrier()
    os.environ["CHECKPOINT"] = str(checkpoint)
    found = {}
    for name, trouble in TROUBLES.items():
        model, empty = built(), built()
        initium.materialize(model, device="cpu")
        before = {n: local_of(t).clone() for n, t in tensors_of(model).items()}
        kind, error = "", ""
        try:
            trouble(dist.get_rank(), model, empty)
        except Exception as raised:
            kind, error = type(raised).__name__, str(raised)
        changed = [n for n, t in before.items() if not local_of(model.get_parameter(n)).equal(t)]
        changed += [f"{n} on meta" for n, t in tensors_of(empty).items() if not t.is_meta]
        found[name] = (kind, error, changed)
    return found


def agree() -> list[str]:
    """After all troubles, the same group of new processes does it right."""
    alone = initium.build(net, seed=5)
    model = built()
    initium.materialize(model, device="cpu")
    return [n for n, t in tensors_of(alone).items() if not t.equal(whole(model.get_parameter(n)))]


def die(how: str) -> tuple[str, float]:
    """One rank dies while it draws; what the others get, and after how many seconds."""
    model = built()
    end = dict(kill=lambda: os.kill(os.getpid(), signal.SIGKILL), exit=lambda: os._exit(3))[how]
    started = time.monotonic()
    with dying(end, rank=1):
        try:
            initium.materialize(model, device="cpu")
        except Exception as error:
            return f"{type(error).__name__}: {error}", time.monotonic() - started
    return "", time.monotonic() - started


def warn() -> str:
    """A rule without effect, where warnings are errors, which rank 0 alone would show."""
    model = built()
    initium.materialize(model, device="cpu")
    try:
        initium.initialize(model, [*RULES, dict(type="Constant", name="nowhere", val=1)], seed=5)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def unseeded() -> dict[str, object]:
    """Ranks whose generators differ draw one seed: the seed, and the values of all shards."""
    torch.manual_seed(100 + dist.get_rank())
    found: dict[str, object] = {}
    model = built(seed=None)
    found["built"] = initium.materialize(model, device="cpu").seed
    found["first"] = {n: whole(t) for n, t in tensors_of(model).items()}
    found["initialized"] = initium.initialize(model, RULES).seed
    found["second"] = {n: whole(t) for n, t in tensors_of(model).items()}
    return found


def untied() -> tuple[bool, Tensor, Tensor]:
    """Tensor parallelism gives a module parameters of its own: a tie is lost, without a word."""
    model = initium.build(FAMILIES["tied llama"].plain, seed=5, device="meta")
    mesh = mesh_of(dict(tensor=dist.get_world_size()))
    parallelize_module(model, mesh, {"model.embed_tokens": RowwiseParallel()})
    initium.materialize(model, device="cpu")
    words, head = model.model.embed_tokens.weight, model.lm_head.weight
    return words is head, whole(words), whole(head)
