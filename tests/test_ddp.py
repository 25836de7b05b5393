"""DistributedDataParallel: every rank fills all of the model, and all of them alike."""

import pytest
import torch

import cluster
import wrapped


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp") / "cluster"
    return cluster.values(cluster.run(2, wrapped.ddp, folder=folder))


@pytest.mark.parametrize("when", ["late", "early", "before"])
def test_every_rank_has_the_values_of_one_process(ranks, when):
    for found in ranks:
        assert not wrapped.different(found[when], wrapped.bits(wrapped.initialized()))


def test_names_are_those_of_the_wrapper_and_streams_those_of_the_model(ranks):
    assert ranks[0]["names"][0] == "module.scale"
    assert ranks[0]["path"] == "head.weight"


def test_without_a_seed_the_ranks_are_alike_all_the_same(ranks):
    assert not wrapped.different(ranks[0]["unseeded"], ranks[1]["unseeded"])
    assert "head.weight" in wrapped.different(ranks[0]["unseeded"], ranks[0]["late"])


def test_gradients_still_meet(ranks):
    one, other = (found["stepped"] for found in ranks)
    assert not wrapped.different(one, other)
    single = wrapped.bits(wrapped.stepped(wrapped.initialized().eval(), wrapped.IDS))
    assert "head.weight" in wrapped.different(single, ranks[0]["late"])
    for name, values in single.items():  # of both halves of the batch
        torch.testing.assert_close(one[name], values)
