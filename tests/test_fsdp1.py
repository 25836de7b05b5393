"""FSDP1: each unit gets the values of the plan before torch flattens and cuts it."""

import pytest
import torch
from torch import nn

import cluster
import initium
import wrapped
from initium import InitError
from initium.flat import check_not_flat
from initium.fsdp1 import param_init_fn
from initium.tree import Tree

TIES = {"net": 0, "llama": 0, "tied net": 1, "outer": 1, "tied llama": 1, "bert": 2}
CASES = [
    (factory, policy, orig)
    for factory in wrapped.FACTORIES
    for policy in wrapped.POLICIES
    for orig in (True, False)
    # smaller units would tear ties apart
    if TIES[factory] == 0 or policy in ("one unit", "blocks")
]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_whole_is_the_model_of_one_process(world, tmp_path):
    outcomes = cluster.run(world, wrapped.fsdp1, CASES, folder=tmp_path / "cluster")
    for found in cluster.values(outcomes):
        assert list(found) == CASES
        for (factory, *_), case in found.items():
            assert not case["wrong"] + case["wrong in state_dict"]
            assert case["tensors"] > 10
            assert case["ties"] == TIES[factory]
            sharded, single = torch.tensor(case["losses"]).view(2, 2)
            torch.testing.assert_close(sharded, single)
            assert single[0] != single[1]


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fsdp1") / "cluster"
    return cluster.values(cluster.run(2, wrapped.fsdp1_refused, folder=folder))


@pytest.mark.parametrize("orig", [True, False])
def test_a_flattened_model_is_refused(refused, orig):
    for found in refused:
        assert "FullyShardedDataParallel has flattened and cut it" in found["flat", orig]
        assert "param_init_fn" in found["flat", orig]
        assert found["flat", orig] == found["rules", orig] == found["plan", orig]
        assert not found["kept", orig]


@pytest.mark.parametrize("orig", [True, False])
def test_a_summoned_model_is_initialized(refused, orig):
    assert not refused[0]["summoned", orig] + refused[1]["summoned", orig]


@pytest.mark.parametrize("orig", [True, False])
@pytest.mark.parametrize("cut", [(1, False), (1, True), (2, True)])
def test_ties_between_units_are_refused(refused, orig, cut):
    for found in refused:
        assert "words.weight, out.weight are one tensor" in found[("torn", orig, *cut)]


def test_ranks_must_agree(refused):
    for found in refused:
        assert "ranks 0 and 1 disagree" in found["seeds"]
        assert "seed" in found["seeds"]
    assert "there is no plan of this Linear" in refused[0]["one fails"]
    assert "rank 0 has failed" in refused[1]["one fails"]


def test_without_a_seed_the_ranks_are_alike_all_the_same(refused):
    one, other = (found["unseeded"] for found in refused)
    assert not wrapped.different(one, other)
    assert one["weight"].std() > 0
    assert bool((one["bias"] == 0).all())


# ---- what needs no other rank


def on_meta():
    return initium.build(wrapped.Net, seed=3, device="meta")


def test_another_seed():
    model = on_meta()
    fill = param_init_fn(model, seed=(5, "b"), device="cpu")
    for module in model.modules():
        fill(module)
    single = initium.build(wrapped.Net, seed=(5, "b"))
    assert not wrapped.different(wrapped.bits(model), wrapped.bits(single))
    assert initium.plan_of(model).seed == (5, "b")
    initium.verify(model)


def test_only_the_module_that_is_asked_for_and_only_once():
    model = on_meta()
    fill = param_init_fn(model)
    fill(model.head)
    assert not model.head.weight.is_meta
    assert model.out.weight.is_meta and model.scale.is_meta and model.angles.is_meta
    model.head.weight.data.zero_()
    fill(model.head)  # it has memory
    assert not model.head.weight.any()
    fill(nn.Sequential(model))  # a wrapper of today, which has nothing of its own
    assert model.scale.is_meta


def test_parameters_stay_the_same_objects():
    model = on_meta()
    head, kind = model.head.weight, type(model.head.weight)
    head.requires_grad_(False)
    head.mark = 1
    param_init_fn(model)(model.head)
    assert model.head.weight is head and type(head) is kind
    assert not head.requires_grad and head.mark == 1


def test_a_module_that_is_not_of_the_model_is_refused():
    fill = param_init_fn(on_meta())
    text = r"weight of this Linear is on meta, but the module is none of the Net.*make the function"
    with pytest.raises(InitError, match=text):
        fill(nn.Linear(2, 2, device="meta"))


def test_a_tensor_that_is_newer_is_refused():
    model = on_meta()
    fill = param_init_fn(model)
    model.body[0].extra = nn.Parameter(torch.empty(2, device="meta"))
    with pytest.raises(InitError, match=r"body\.0\.extra of Net is newer than this param_init_fn"):
        fill(model.body[0])


def test_plans_that_do_not_fit_are_refused():
    model = on_meta()
    rules = initium.plan(model, wrapped.RULES, seed=0)
    with pytest.raises(InitError, match=r"says nothing of \d+ tensors on meta.*body\.1\.weight"):
        param_init_fn(model, rules)
    longer = initium.build(lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), seed=0)
    with pytest.raises(InitError, match=r"has a tensor 1\.weight, which Sequential has not"):
        param_init_fn(nn.Sequential(nn.Linear(2, 2, device="meta")), initium.plan_of(longer))
    with pytest.raises(InitError, match="there is no plan of this Linear"):
        param_init_fn(nn.Linear(2, 2, device="meta"))
    layer = nn.Linear(2, 2, device="meta")
    with pytest.raises(InitError, match="rng='torch' draws one tensor after the other"):
        param_init_fn(layer, initium.plan(layer, dict(type="Normal", layer="Linear"), rng="torch"))


def test_other_models_are_not_flat():
    check_not_flat(Tree(wrapped.Net()))
    check_not_flat(Tree(on_meta()))
