"""What the ranks of a cluster do; each task returns its findings: what was not as it should be."""

import traceback
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import initium
from engines import mesh_of, spread, tensors_of, train, ways, whole
from families import FAMILIES

SEED, ANOTHER = 5, ("again", 9)
State = dict[str, Tensor]
Alike = Callable[[Tensor, Tensor], bool]


def all_families(world: int) -> dict[str, list[str]]:
    """Every family in every way of spreading it: what differs from the model on one process."""
    found = {}
    for way, sizes in ways(world).items():
        mesh = mesh_of(sizes) if sizes else None
        all_of_it = world < 8 or len(sizes) == 3  # eight processes are slow on a small machine
        for name in FAMILIES:
            built, crafted = _built(name, mesh, all_of_it), _crafted(name, mesh, all_of_it)
            found[f"{name}, {way}"] = [*_safely(built), *_safely(crafted)]
    return found


def _safely(findings: Iterator[str]) -> Iterator[str]:
    """The findings, and the error that ended them, which is one of all ranks or of their group."""
    try:
        yield from findings
    except Exception:
        yield traceback.format_exc()


def _built(name: str, mesh: DeviceMesh | None, again: bool) -> Iterator[str]:
    """As transformers would initialise it; then by rules, with another seed, in its memory."""
    family, alone = FAMILIES[name], built_alone(name)
    model = initium.build(family.plain, seed=SEED, device="meta")
    initium.materialize(spread(model, family, mesh), device="cpu")
    yield from _differences("built", alone[0], model)
    if not again:
        return
    initium.initialize(model, family.rules, seed=ANOTHER)
    saved = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    yield from _differing("initialised again", alone[1], saved, _same)
    yield from sorted(f"{n} is not saved" for n, _ in model.named_parameters() if n not in saved)


@lru_cache
def built_alone(name: str) -> tuple[State, State]:
    """The same on one process."""
    model = initium.build(FAMILIES[name].plain, seed=SEED)
    first = _state(model)
    initium.initialize(model, FAMILIES[name].rules, seed=ANOTHER)
    return first, _state(model)


def _crafted(name: str, mesh: DeviceMesh | None, trained: bool) -> Iterator[str]:
    """With user code and rules; then a step of an optimizer that was there before the memory."""
    family, (first, losses_alone, last) = FAMILIES[name], crafted_alone(name)
    model = initium.build(family.crafted, seed=SEED, init_cfg=family.rules, device="meta")
    spread(model, family, mesh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    initium.materialize(model, device="cpu")
    yield from _differences("crafted", first, model)
    for one, other in family.ties.items():
        if model.get_parameter(one) is not model.get_parameter(other):
            yield f"{one} and {other} are not tied"
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held != {id(p) for p in model.parameters()}:
        yield "the optimizer holds other parameters than the model"
    cut = mesh is not None and "tensor" in mesh.mesh_dim_names
    if not trained or (cut and mesh["tensor"].size() > family.heads):
        return  # the model's own code takes a rank to have whole heads
    # copies need no broadcast: they are equal already
    runs = _data_parallel(model) if mesh is None else model
    losses = _two_steps(runs, name, optimizer)
    if not torch.allclose(losses, losses_alone, rtol=1e-5):
        yield f"the losses are {losses}, but {losses_alone} on one process"
    yield from _differences("trained", last, model, near=True)


def _data_parallel(model: nn.Module) -> nn.Module:
    return DistributedDataParallel(model, init_sync=False, find_unused_parameters=True)


def _two_steps(model: nn.Module, name: str, before: torch.optim.Optimizer) -> Tensor:
    """The losses before a step of an optimizer that is there, and before one of a new one."""
    batch = FAMILIES[name].batch()
    losses = [train(model, batch, before)]
    after = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    return torch.tensor([*losses, train(model, batch, after)], dtype=torch.float64)


@lru_cache
def crafted_alone(name: str) -> tuple[State, Tensor, State]:
    """The same on one process."""
    family = FAMILIES[name]
    model = initium.build(family.crafted, seed=SEED, init_cfg=family.rules)
    first = _state(model)
    losses = _two_steps(model, name, torch.optim.SGD(model.parameters(), lr=0.1))
    return first, losses, _state(model)


class Declared(initium.BaseModule):
    """Rules of its own, and code of its own in a child."""

    def __init__(self) -> None:
        super().__init__(init_cfg=dict(type="Uniform", layer="Linear", a=-1, b=1, bias=0.5))
        self.body, self.head = nn.Linear(5, 7), Coded()


class Coded(initium.BaseModule):
    """Code that torch, and code that initium carries out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(7, 7), nn.Linear(7, 3)

    def init_weights(self) -> None:
        nn.init.trunc_normal_(self.first.weight, std=0.02)
        initium.normal_init(self.second, std=0.02, bias=1)


def declared() -> list[str]:
    """`init_weights` of a model that is sharded already."""
    alone, model = Declared(), Declared()
    fully_shard(model, mesh=mesh_of(dict(shard=dist.get_world_size())))
    for each in (alone, model):
        each.init_weights(seed=SEED)
    return list(_differences("declared", _state(alone), model))


def _state(model: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}


def _differences(when: str, alone: State, model: nn.Module, near: bool = False) -> Iterator[str]:
    """What differs on this rank: of copies it gathers its own."""
    found = tensors_of(model)
    yield from sorted(f"{when}: {name} is not in both" for name in alone.keys() ^ found.keys())
    gathered = {id(tensor): whole(tensor) for tensor in found.values()}  # tied ones once
    whole_ones = {name: gathered[id(tensor)] for name, tensor in found.items()}
    yield from _differing(when, alone, whole_ones, _near if near else _same)


def _differing(when: str, alone: State, found: State, alike: Alike) -> Iterator[str]:
    for name in alone.keys() & found.keys():
        if not alike(alone[name], found[name]):
            yield f"{when}: {name} differs"


def _same(a: Tensor, b: Tensor) -> bool:
    return (a.dtype, a.device) == (b.dtype, b.device) and a.equal(b)


def _near(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=2e-6)
