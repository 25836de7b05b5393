"""From one process to a cluster: the same model, bit for bit, at any world size, in any cut.

Each test starts processes of its own (`cluster.py`); what they do is in `ranks.py`, for models that
come out as they should, and in `troubles.py`. Engines (`engines.py`) and models are not ours.
"""

import math

import pytest
import torch

import cluster
import ranks
import troubles


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_every_family_in_every_cut_is_the_model_of_one_process(world, tmp_path):
    """State, buffers, ties, optimizers and steps of training; on every rank, of its own copy."""
    by_rank = cluster.values(
        cluster.run(world, ranks.all_families, world, folder=tmp_path / "ranks")
    )
    wrong = {
        f"{case} on rank {rank}": findings
        for rank, found in enumerate(by_rank)
        for case, findings in found.items()
        if findings
    }
    assert not wrong
    assert [len(found) for found in by_rank] == [6 * 5] * world  # families by ways


def test_rules_and_code_of_modules_reach_shards(tmp_path):
    outcomes = cluster.run(2, ranks.declared, folder=tmp_path / "ranks")
    assert cluster.values(outcomes) == [[], []]


# the errors of the ranks, in words that they have in common; where one has failed: its number and
# the type of its error
DISAGREE = {
    "another seed": ["the seed", "rank 0 has 5", "rank 3 has 6"],
    "another seed again": ["the seed", "rank 0 has ('a', 0)", "rank 2 has ('a', 1)"],
    "another std": ["2.weight", "rank 0 has Uniform(a=-1, b=1)", "rank 1 has Uniform(a=-1, b=2)"],
    "another plan": ["0.weight", "rank 0 has Normal(mean=0, std=0.02)", "rank 2 has Uniform("],
    "one more tensor": ["late", "rank 0 has no such tensor", "rank 2 has Constant(val=1)"],
    "generators": ["rng='torch'", "leave rng out"],
}
FAILED = {
    "a typing error": (3, "InitTypeError", ["rule 1", "std must be a number"]),
    "no checkpoint": (1, "InitFileNotFoundError", ["no checkpoint file /nowhere/model.pth"]),
    "no memory": (2, "MemoryError", ["no more"]),
}


@pytest.fixture(scope="module")
def disagreements(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disagree")
    outcomes = cluster.run(
        4, troubles.disagree, folder / "net.pth", folder=folder / "ranks", limit=90
    )
    return cluster.values(outcomes)


@pytest.mark.parametrize("trouble", DISAGREE)
def test_ranks_that_disagree_say_where_and_write_nothing(trouble, disagreements):
    for found in disagreements:
        kind, error, changed = found[trouble]
        assert kind == "InitError"
        for words in DISAGREE[trouble]:
            assert words in error
        assert not changed


@pytest.mark.parametrize("trouble", FAILED)
def test_where_one_rank_fails_all_say_which_and_why(trouble, disagreements):
    failed, type_of_error, words = FAILED[trouble]
    for rank, found in enumerate(disagreements):
        kind, error, changed = found[trouble]
        assert kind == (type_of_error if rank == failed else "InitError")
        assert rank == failed or f"rank {failed} has failed" in error
        assert rank == failed or type_of_error in error
        assert all(word in error for word in words)
        if trouble != "no memory":  # which comes when all is checked, in the midst of the filling
            assert not changed


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_rank_that_dies_leaves_an_error_and_not_a_wait(how, tmp_path):
    outcomes = cluster.run(4, troubles.die, how, folder=tmp_path / "first", limit=60)
    assert outcomes[1].code == dict(kill=-9, exit=3)[how]
    for rank in (0, 2, 3):
        error, seconds = outcomes[rank].value
        assert error
        assert seconds < 20
    again = cluster.run(4, troubles.agree, folder=tmp_path / "second")
    assert cluster.values(again) == [[]] * 4


def test_a_warning_that_is_an_error_is_one_of_all_ranks(tmp_path):
    outcomes = cluster.run(4, troubles.warn, folder=tmp_path / "ranks", limit=30)
    first, *others = cluster.values(outcomes)
    assert first.startswith("InitWarning: ")
    for error in (first, *others):
        assert "'nowhere' matches no parameter" in error


def test_without_a_seed_all_ranks_take_that_of_the_first(tmp_path):
    outcomes = cluster.run(4, troubles.unseeded, folder=tmp_path / "ranks")
    first, *others = cluster.values(outcomes)
    torch.manual_seed(100)  # which rank 0 has said
    assert first["built"] == torch.randint(0, 2**63 - 1, ()).item()
    assert first["built"] != first["initialized"]
    for other in others:
        for seed in ("built", "initialized"):
            assert other[seed] == first[seed]
        for state in ("first", "second"):
            assert other[state].keys() == first[state].keys()
            assert all(t.equal(first[state][name]) for name, t in other[state].items())
    assert not first["first"]["0.weight"].equal(first["second"]["0.weight"])


def test_a_tie_that_tensor_parallelism_has_cut_still_has_equal_values(tmp_path):
    outcomes = cluster.run(2, troubles.untied, folder=tmp_path / "ranks")
    for tied, words, head in cluster.values(outcomes):
        assert not tied
        assert words.equal(head)
        assert 0 < words.std() < math.inf
