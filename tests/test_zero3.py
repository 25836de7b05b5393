"""ZeRO-3: each rank fills its slice of the flattened tensor, by the shape of the whole."""

import importlib.util
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

import cluster
import initium
import wrapped
from initium import InitError, zero3
from initium.shard import pieces_of, shape_of

SHAPES = st.lists(st.integers(1, 5), max_size=4).map(tuple)


@given(SHAPES, st.data())
def test_a_range_is_cut_into_few_boxes_that_follow_each_other(shape, data):
    n = math.prod(shape)
    first = data.draw(st.integers(0, n))
    end = data.draw(st.integers(first, n))
    boxes = zero3.boxes_of_range(shape, first, end)
    indices = torch.arange(n).view(shape)
    found = [i for box in boxes for i in indices[box.slices()].flatten().tolist()]
    assert found == list(range(first, end))
    assert len(boxes) <= max(1, 2 * len(shape) - 1)
    assert all(box.of == shape for box in boxes)


def test_the_most_boxes():
    boxes = zero3.boxes_of_range((3, 3, 3, 3), 1, 80)
    assert [box.numel for box in boxes] == [2, 6, 18, 27, 18, 6, 2]


@given(SHAPES, st.integers(1, 9))
@example((), 2)
@example((2, 3, 4), 24)
def test_the_slices_of_all_ranks_are_the_stream(shape, world):
    rule = dict(type="Normal", name="weight", std=3.0)
    single = nn.Module()
    single.weight = nn.Parameter(torch.empty(shape))
    initium.initialize(single, rule, seed=1)
    ranks = []
    for rank in range(world):
        model = nn.Module()
        model.weight = wrapped.sliced(shape, rank, world)
        report = initium.initialize(model, rule, seed=1)
        assert report["weight"].shape == shape == shape_of(model.weight)
        assert model.weight.shape == (0,)
        ranks.append(model.weight)
    assert wrapped.joined(ranks).equal(single.weight)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("factory", ["net", "tied net", "llama"])
def test_the_model_of_one_process(factory, world):
    single = initium.build(wrapped.FACTORIES[factory], seed=3)
    plan, ranks = initium.plan_of(single), []
    for rank in range(world):
        model = wrapped.slice_all(wrapped.FACTORIES[factory](), rank, world)
        initium.apply(plan, model)
        assert initium.verify(model, plan) == len(plan)
        assert not wrapped.different(dict(model.named_buffers()), dict(single.named_buffers()))
        ranks.append(dict(model.named_parameters(remove_duplicate=False)))
    for name, parameter in single.named_parameters(remove_duplicate=False):
        assert wrapped.joined([of_rank[name] for of_rank in ranks]).equal(parameter)


def test_rules_go_by_the_shape_of_the_whole():
    single, ranks = wrapped.initialized(), []
    for rank in range(3):
        model = wrapped.slice_all(wrapped.Net(), rank, 3)
        # the norms that no rule sets hold what DeepSpeed has given them
        initium.initialize(model, wrapped.RULES, seed=0)
        ranks.append(dict(model.named_parameters()))
    for name in ("words.weight", "head.weight", "body.0.weight", "body.0.bias", "scale"):
        assert wrapped.joined([of_rank[name] for of_rank in ranks]).equal(
            single.get_parameter(name)
        )
    assert not single.words.weight[2].any()  # the row of the padding is a write of its own


def test_a_lower_precision_is_the_rounding_of_the_same_values():
    rule = dict(type="Normal", name="weight", std=3.0)
    single = nn.Linear(5, 7, bias=False, dtype=torch.bfloat16)
    initium.initialize(single, rule, seed=1)
    ranks = [nn.Linear(5, 7, bias=False, dtype=torch.bfloat16) for _ in range(4)]
    for rank, model in enumerate(ranks):
        initium.initialize(wrapped.slice_all(model, rank, 4), rule, seed=1)
    assert wrapped.joined([model.weight for model in ranks]).equal(single.weight)


def test_an_initializer_alone():
    one, same = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    weight = wrapped.sliced((4, 6), 1, 2)
    initium.init.xavier_normal_(weight, generator=one)
    whole = initium.init.xavier_normal_(torch.empty(4, 6), generator=same)
    assert weight.ds_tensor.equal(whole[2:].flatten())


def test_a_gathered_parameter_gets_both():
    weight = wrapped.sliced((4, 6), 1, 2)
    weight.data, weight.ds_status = torch.empty(4, 6), wrapped.Status.AVAILABLE
    model = nn.Module()
    model.weight = weight
    initium.initialize(model, dict(type="Normal", name="weight"), seed=1)
    assert weight.ds_tensor.equal(weight.detach()[2:].flatten())
    assert weight.detach().std() > 0
    initium.verify(model)


def test_a_part_of_a_slice():
    weight = wrapped.sliced((4, 6), 1, 3)  # elements 8 up to 16
    found = pieces_of(weight, ((1, 3, 1), (1, 6, 3)))
    assert [(p.block.of, p.block.start, p.block.shape) for p in found] == [
        ((2, 2), (0, 1), (1, 1)),  # element 10
        ((2, 2), (1, 0), (1, 1)),  # element 13
    ]
    for i, piece in enumerate(found):
        piece.memory.fill_(i)
    assert weight.ds_tensor.nan_to_num(-1).tolist() == [-1, -1, 0, -1, -1, 1, -1, -1]


def engine(weight):
    weight._z3_optimizer = object()


def in_flight(weight):
    weight.ds_status = wrapped.Status.INFLIGHT


def on_a_disk(weight):
    weight.ds_tensor.final_location = "nvme"


def quantized(weight):
    weight.ds_tensor = weight.ds_tensor.to(torch.int8)


def of_another_version(weight):
    del weight.ds_tensor


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (engine, "an optimizer of DeepSpeed keeps a copy .* before deepspeed.initialize"),
        (in_flight, "ZeRO-3 parameter, and it is being gathered; .* outside of its forward"),
        (
            on_a_disk,
            "ZeRO-3 parameter, and its slice is swapped to a disk; .* without offload_param",
        ),
        (
            quantized,
            "ZeRO-3 parameter, and its slice is quantized .*torch.int8 in place of torch.float32",
        ),
        (
            of_another_version,
            "ZeRO-3 parameter, and .*does not say where its slice is; .* before deepspeed.zero.Init",
        ),
    ],
)
def test_what_cannot_be_filled_is_refused(spoil, text):
    model = wrapped.slice_all(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)), 0, 2)
    spoil(model[1].weight)
    plan = initium.plan_of(initium.build(lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))))
    with pytest.raises(InitError, match=rf"1\.weight: .*{text}"):
        initium.initialize(model, dict(type="Normal", layer="Linear"))
    with pytest.raises(InitError, match=rf"1\.weight: .*{text}"):
        initium.apply(plan, model)
    with pytest.raises(InitError, match=text):
        initium.init.normal_(model[1].weight)
    assert model[0].weight.ds_tensor.isnan().all()  # nothing was written


def test_a_plain_parameter_of_zero_2_is_refused_once_it_has_an_optimizer():
    model = nn.Linear(2, 3)
    before = wrapped.bits(model)
    model.bias._hp_mapping = None  # another rank's
    model.weight._hp_mapping = object()
    with pytest.raises(InitError, match=r"weight: an optimizer of DeepSpeed keeps a copy of it"):
        initium.initialize(model, dict(type="Constant", layer="Linear", val=9))
    assert not wrapped.different(before, wrapped.bits(model))


def test_a_constructor_that_cuts_is_not_recorded():
    def factory():
        return wrapped.slice_all(nn.Linear(2, 3), 0, 2)

    with pytest.raises(InitError, match=r"weight: deepspeed.zero.Init has cut it.*device='meta'"):
        initium.build(factory, seed=0)
    with pytest.raises(InitError, match=r"weight: deepspeed.zero.Init has cut it"):
        with initium.recording(seed=0) as rec:
            rec.name(factory())


# ---- DeepSpeed itself

with_deepspeed = pytest.mark.skipif(
    not importlib.util.find_spec("deepspeed"), reason="DeepSpeed is not installed"
)


@with_deepspeed
@pytest.mark.parametrize("world", [1, 2, 4])
def test_models_under_deepspeed(world, tmp_path):
    ranks = cluster.values(cluster.run(world, wrapped.zero3_filled, folder=tmp_path / "cluster"))
    for found in ranks:
        assert found["shape"] == (6, 7)
        assert not found["slices"]
        assert found["checked"] > 5
        assert "is not what" in found["changed"]
        assert not found["plan", "tied net"] + found["plan", "tied llama"]
        for modifier in (0, world - 1, None):
            assert not found["within", modifier] + found["after", modifier]
        assert found["alone"].std() > 0
        assert found["alone"].equal(ranks[0]["alone"])
        assert world == 1 or "ranks 0 and 1 disagree" in found["seeds"]
        assert "deepspeed.zero.Init has cut it" in found["recorded"]


@with_deepspeed
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_trains_what_it_was_given(stage, tmp_path):
    outcomes = cluster.run(2, wrapped.deepspeed_trained, stage, folder=tmp_path / "cluster")
    for found in cluster.values(outcomes):
        assert found["losses"][0] == pytest.approx(found["losses"][1])
        assert "an optimizer of DeepSpeed keeps a copy" in found["error"]
        for name, values in found["single"].items():
            torch.testing.assert_close(found["after"][name], values)


@with_deepspeed
def test_what_hpzero_keeps_a_second_time(tmp_path):
    ranks = cluster.values(cluster.run(4, wrapped.zero3_twice, folder=tmp_path / "cluster"))
    assert all(same for found in ranks for same, _ in found.values())
    assert all(len(found) > 5 for found in ranks)
