"""Plan files that were changed by hand, or by chance: loaded and applied, or an InitError."""

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import initium
from initium import InitError, Plan


def drawn():
    """A model whose plan has fills of wholes and parts, chains, and captured values."""
    model = nn.Module()
    model.words = nn.Embedding(5, 4, padding_idx=1)
    model.norm = nn.BatchNorm1d(4)
    model.head = nn.Linear(4, 5)
    model.head.weight = model.words.weight
    model.scale = nn.Parameter(torch.randn(3).abs().mul(0.5).clamp(0.1, 2))
    model.register_buffer("steps", torch.arange(3.0), persistent=False)
    model.square = nn.Linear(3, 3)
    return model


RULES = [
    dict(type="Kaiming", name="words.weight", distribution="uniform"),
    dict(type="TruncNormal", name="head.bias", a=-1, units="sigma"),
    dict(type="VarianceScaling", name="square.weight"),
    dict(type="Constant", name="square.bias", val=2),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans")
    torch.save({"layers.1.weight": torch.ones(6, 3), "x.bias": torch.ones(5)}, folder / "x.pth")
    load = dict(
        type="Pretrained",
        checkpoint=str(folder / "x.pth"),
        rename=[(r"^x\.", "square.")],
        convert=[dict(type="Split", key=r"layers\.1\.(.*)", into=[r"square.\1", "rest"])],
        adapt=[dict(type="ClassHead", name="square.bias")],
        ignore=["**"],
        ignore_unused=["rest"],
    )
    plans = []
    for rules in (RULES, [*RULES, load]):
        model = initium.build(drawn, seed=("a", 3), init_cfg=rules)
        initium.plan_of(model).save(folder / "plan.json")
        plans.append(json.loads((folder / "plan.json").read_text()))
    return folder, plans


OTHER = [
    None, True, -1, 0, 1, 3, 2**70, -(2**70), 1.5, float("nan"), float("inf"), "", "x", "\ud800",
    "fill", "load", "float32", "nn", [], {}, [1], {"type": "Normal"}, [[0, 1, 0]], [[0, 9, 1]], [None] * 3,
]  # fmt: skip


def nodes(data, found=None):
    """(container, key) of everything within."""
    found = [] if found is None else found
    for key in data if isinstance(data, dict) else range(len(data)):
        found.append((data, key))
        if isinstance(data[key], (dict, list)):
            nodes(data[key], found)
    return found


def mutate(data, how, where, what):
    places = nodes(data)
    container, key = places[where % len(places)]
    if how == "other":
        container[key] = copy.deepcopy(OTHER[what % len(OTHER)])
    elif how == "elsewhere":
        there, name = places[what % len(places)]
        container[key] = copy.deepcopy(there[name])
    elif how == "delete":
        del container[key]
    elif isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[["x", "kind", "type", "name"][what % 4]] = container.pop(key)


def state(model):
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.clone() for name, tensor in named}


MUTATION = st.tuples(
    st.sampled_from(["other", "elsewhere", "delete", "double"]),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)


@given(which=st.integers(0, 1), mutations=st.lists(MUTATION, min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_a_changed_file_is_a_plan_or_an_init_error(saved, which, mutations):
    folder, plans = saved
    changed = copy.deepcopy(plans[which])
    for mutation in mutations:
        mutate(changed, *mutation)
    (folder / "plan.json").write_text(json.dumps(changed))
    model = drawn()
    before = state(model)
    try:
        plan = Plan.load(folder / "plan.json")
        assert str(plan)
        for line in plan:
            assert plan.explain(line.name)
        initium.apply(plan, model)
    except InitError:
        assert all(tensor.equal(before[name]) for name, tensor in state(model).items())


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("lines", 0, "shape"), [3, -1], r"lines\.0\.shape\.1: .* but got -1"),
        (("lines", 0, "dtype"), "nn", r"lines\.0\.dtype: .*'nn' is no dtype of torch"),
        (("lines", 0, "writes", 0, "order"), "1", r"writes\.0\.fill\.order: .* but got '1'"),
        (("lines", 0, "writes", 0, "where"), [[0, 99, 1]], r"scale: \[\[0, 99, 1\]\] is no part"),
        (("lines", 0, "name"), "words.weight", r"2 lines are of the tensor words\.weight"),
        (("rng",), "mersenne", r"rng must be 'philox' or 'torch'"),
        (("seed",), [1.5], r"a seed must be an int, a str or a tuple"),
        (("more",), 3, r"more: Extra inputs are not permitted, but got 3"),
    ],
)
def test_the_message_names_the_place(saved, place, value, message):
    folder, (changed, _) = saved
    changed = copy.deepcopy(changed)
    at = changed
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    (folder / "plan.json").write_text(json.dumps(changed))
    with pytest.raises(InitError, match=message):
        Plan.load(folder / "plan.json")


def test_a_file_of_nothing_but_brackets(tmp_path):
    (tmp_path / "plan.json").write_text("[" * 100_000)
    with pytest.raises(InitError, match="is no plan"):
        Plan.load(tmp_path / "plan.json")


def test_a_chain_that_cannot_be_computed_is_refused_before_anything_is_written(saved):
    folder, (changed, _) = saved
    changed = copy.deepcopy(changed)
    (chain,) = (w["initializer"] for w in changed["lines"][0]["writes"])
    chain["steps"][1][1] = ["x"]
    (folder / "plan.json").write_text(json.dumps(changed))
    model = drawn()
    before = state(model)
    with pytest.raises(InitError, match=r"scale: .*mul\('x'\).* cannot be computed"):
        initium.apply(Plan.load(folder / "plan.json"), model)
    assert all(tensor.equal(before[name]) for name, tensor in state(model).items())
