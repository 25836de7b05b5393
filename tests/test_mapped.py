"""`Pretrained(mmap=True)`: weights stay in their file until they are written to."""

import copy
import gc
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initium
from initium import InitError

WIDE = 256  # a weight of 256 KiB: worth a map


class Net(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.body = nn.Linear(WIDE, WIDE, dtype=dtype)
        self.head = nn.Linear(WIDE, WIDE, dtype=dtype)
        self.register_buffer("scale", torch.ones(WIDE, WIDE, dtype=dtype))


def in_file(tensor, path):
    """Whether the memory of a tensor is a map of this file."""
    at = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        first, end = (int(word, 16) for word in span.split("-"))
        if first <= at < end:
            return name == str(path)
    return False


@pytest.fixture(params=["safetensors", "pth"])
def saved(request, tmp_path):
    state = Net().state_dict()
    path = tmp_path / f"net.{request.param}"
    if request.param == "pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    return path, state


def rule(path, **more):
    return dict(type="Pretrained", checkpoint=str(path), mmap=True, **more)


def same(model, state):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def built(path, **more):
    return initium.build(Net, init_cfg=rule(path), seed=0, **more)


def materialized(path):
    return initium.materialize(model := built(path, device="meta")) and model


def initialized(path):
    model = Net()
    initium.initialize(model, rule(path))
    return model


@pytest.mark.parametrize("way", [built, materialized, initialized])
def test_large_weights_stay_in_the_file_and_small_ones_do_not(saved, way):
    path, state = saved
    model = way(path)
    assert same(model, state)
    mapped = {name for name, value in model.state_dict().items() if in_file(value, path)}
    assert mapped == {"body.weight", "head.weight", "scale"}
    assert isinstance(model.body.weight, nn.Parameter)
    assert model.body.weight.requires_grad
    assert initium.verify(model) == 5


def test_what_is_written_stays_in_the_model(saved):
    path, state = saved
    before, model, twin = path.read_bytes(), initialized(path), copy.deepcopy(initialized(path))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.head(model.body(torch.ones(1, WIDE))).sum().backward()
    optimizer.step()
    assert not torch.equal(model.body.weight, state["body.weight"])
    assert same(twin, state)
    assert path.read_bytes() == before


def test_no_two_tensors_share_the_memory_of_one_of_the_file(saved):
    path, state = saved
    pair = nn.ModuleDict({"teacher": Net(), "student": Net()})
    rules = [rule(path, to="teacher"), rule(path, to="student")]
    plan = initium.plan(pair, rules)
    models = [pair, copy.deepcopy(pair)]
    for model in models:
        initium.apply(plan, model)
    with torch.no_grad():
        pair["student"].body.weight.zero_()
    assert same(pair["teacher"], state)
    assert same(models[1]["student"], state)


def test_maps_end_with_their_tensors_and_hold_no_descriptors(saved):
    def maps():
        gc.collect()
        return Path("/proc/self/maps").read_text().count(str(path))

    path, _ = saved
    kept = initialized(path)
    several, files = maps(), len(list(Path("/proc/self/fd").iterdir()))
    models = [initialized(path) for _ in range(5)]
    assert maps() >= several + 5
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    weight = models[0].body.weight.detach()
    del models
    assert weight.equal(kept.body.weight)
    del weight
    assert maps() == several


def test_a_file_that_is_cut_short_is_an_error(saved):
    path, _ = saved
    model, plan = Net(), initium.plan(Net(), rule(path))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InitError, match="it was cut short just now"):
        initium.apply(plan, model)
    changed = [n for n, value in model.state_dict().items() if not value.equal(before[n])]
    assert len(changed) < 5


def test_tensors_that_share_memory_go_on_sharing_it(saved):
    path, state = saved
    model = Net()
    model.other = nn.Linear(WIDE, WIDE)
    model.other.weight.data = model.head.weight.data  # two objects
    model.rows = nn.Parameter(model.body.weight.data[:9])  # a part
    initium.initialize(model, rule(path, ignore=["rows", "other.*"]))
    assert torch.equal(model.other.weight, state["head.weight"])
    assert torch.equal(model.rows, state["body.weight"][:9])
    assert not in_file(model.head.weight, path)
    assert not in_file(model.body.weight, path)
    assert in_file(model.scale, path)
    with torch.no_grad():
        model.head.weight.zero_()
    assert not model.other.weight.any()


def test_one_object_in_two_places_is_mapped(saved):
    path, _ = saved
    model = Net()
    model.body.weight = model.head.weight
    initium.initialize(model, rule(path))
    assert model.body.weight is model.head.weight
    assert in_file(model.head.weight, path)


@pytest.mark.parametrize("how", ["cast", "adapted", "strided", "inference"])
def test_what_cannot_be_a_map_is_copied(saved, how):
    path, state = saved
    more = {}
    with torch.inference_mode(how == "inference"):
        model = Net(torch.float64 if how == "cast" else torch.float32)
    if how == "adapted":
        model.body = nn.Linear(WIDE, WIDE - 1)
        state = {k: v[1:] if k.startswith("body.") else v for k, v in state.items()}
        rows = list(range(1, WIDE))
        more = dict(adapt=[dict(type="ClassHead", name="body.*", rows=rows)])
    if how == "strided":
        model.body.weight.data = model.body.weight.data.t().contiguous().t()
    initium.initialize(model, rule(path, **more))
    assert in_file(model.head.weight, path) is (how in ("adapted", "strided"))
    assert not in_file(model.body.weight, path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name].to(value.dtype))


def test_a_plan_says_it_and_a_file_keeps_it(saved, tmp_path):
    path, state = saved
    plan = initium.plan(Net(), rule(path), seed=0)
    plan.save(tmp_path / "plan.json")
    read = initium.Plan.load(tmp_path / "plan.json")
    assert read == plan
    model = Net()
    initium.apply(read, model)
    assert in_file(model.body.weight, path)
    assert same(model, state)


def test_another_type_is_refused():
    with pytest.raises(InitError, match="mmap must be a bool, but got 'yes'"):
        initium.initialize(Net(), dict(type="Pretrained", checkpoint="x.pth", mmap="yes"))
