"""Public functions that are given something else say so, and have done nothing."""

import pytest
import torch
from torch import nn

import initium
from initium.errors import InitError, InitTypeError

RULE = dict(type="Constant", val=1, layer="Linear")


def a_plan(**kw):
    return initium.plan(nn.Linear(2, 2), RULE, **kw)


OTHERS = [None, 3, "model", nn.Linear, nn.Linear(2, 2).state_dict(), [nn.Linear(2, 2)]]


@pytest.mark.parametrize("other", OTHERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize(
    "call",
    [
        lambda model: initium.initialize(model, RULE),
        lambda model: initium.apply(a_plan(), model),
        lambda model: initium.materialize(model, plan=a_plan()),
        lambda model: initium.materialize(model),
        initium.protect,
        initium.unprotect,
        lambda model: initium.PretrainedInit("x.pth")(model),
        lambda model: initium.ConstantInit(1, layer="Linear")(model),
    ],
)
def test_what_is_no_model_is_refused(call, other):
    with pytest.raises(InitTypeError, match=r"model must be a torch\.nn\.Module, but got "):
        call(other)


@pytest.mark.parametrize("other", [3, "plan.json", {}, nn.Linear(2, 2)], ids=str)
@pytest.mark.parametrize(
    "call",
    [
        lambda plan: initium.apply(plan, nn.Linear(2, 2)),
        lambda plan: initium.materialize(nn.Linear(2, 2), plan=plan),
        lambda plan: initium.check_checkpoint(plan, "x.pth"),
    ],
)
def test_what_is_no_plan_is_refused(call, other):
    with pytest.raises(InitTypeError, match=r"plan must be an initium\.Plan.*, but got "):
        call(other)


def test_a_long_value_does_not_fill_the_screen():
    with pytest.raises(InitTypeError) as raised:
        initium.apply(a_plan(), {f"layers.{i}.weight": torch.zeros(9, 9) for i in range(99)})
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(checkpoint=3), "checkpoint must be a path or a URL, but got 3"),
        (dict(sample="all"), "sample must be an int or None, but got 'all'"),
        (dict(sample=True), "sample must be an int or None, but got True"),
        (dict(everything=1), "everything must be a bool, but got 1"),
        (dict(seed=1.5), "a seed must be an int, a str or a tuple of them, but got 1.5"),
        (dict(key=3), "key must be a str or None, but got 3"),
        (dict(prefix=3), "prefix must be a str or None, but got 3"),
    ],
)
def test_arguments_of_check_checkpoint(arguments, message):
    with pytest.raises(InitTypeError, match=message):
        initium.check_checkpoint(a_plan(seed=0), **{"checkpoint": "x.pth", **arguments})


@pytest.mark.parametrize("function", [initium.protect, initium.unprotect])
@pytest.mark.parametrize("names", [3, None, [3], ["weight", None]])
def test_names_to_protect(function, names):
    with pytest.raises(InitTypeError, match=r"(names|a pattern) must be "):
        function(nn.Linear(2, 2), names)


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, 10**30])
def test_seeds_that_torch_does_not_take(seed):
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    text = rf"rng='torch' a seed must be at least -2\*\*63 and below 2\*\*64, but got {seed}"
    with pytest.raises(InitError, match=text):
        initium.initialize(model, RULE, seed=seed, rng="torch")
    with pytest.raises(InitError, match=text):
        initium.materialize(model, plan=a_plan(rng="torch"), seed=seed)
    assert model.weight.equal(before)
    initium.initialize(model, RULE, seed=seed)


@pytest.mark.parametrize("seed", [2**64 - 1, -(2**63)])
def test_the_least_and_the_greatest_seed_of_torch(seed):
    initium.initialize(
        nn.Linear(2, 2), dict(type="Uniform", layer="Linear"), seed=seed, rng="torch"
    )
