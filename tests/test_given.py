"""Public functions look at what they are given before they do anything with it."""

import numpy as np
import pytest
import torch
from torch import nn

import initium
from initium.errors import InitTypeError

MODEL = nn.Linear(2, 2)
PLAN = initium.plan(MODEL, dict(type="Normal", layer="Linear"), seed=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: initium.verify(3), r"^model must be a torch\.nn\.Module, but got 3$"),
        (lambda: initium.verify(MODEL, 3), r"^plan must be an initium\.Plan, but got 3$"),
        (lambda: PLAN.diff(3), r"^other must be an initium\.Plan, but got 3$"),
        (lambda: PLAN.save(3), "^path must be a path, but got 3$"),
        (lambda: initium.Plan.load(3), "^path must be a path, but got 3$"),
        (lambda: initium.convert_checkpoint(3, "x.pth"), "^checkpoint must be a path, but got 3$"),
        (lambda: initium.convert_checkpoint("x.pth", 3), "^out must be a path, but got 3$"),
        (
            lambda: initium.PretrainedInit(
                "x.pth", convert=[dict(type="Split", key="a", into=["b", "c"], dim="x")]
            ),
            "dim must be an int, but got 'x'$",
        ),
    ],
)
def test_what_it_must_be_is_said(call, message):
    with pytest.raises(InitTypeError, match=message):
        call()


@pytest.mark.parametrize("number", [np.float32(0.5), torch.tensor(0.5), 0.5])
def test_numbers_of_other_libraries_are_plain_in_a_plan(number, tmp_path):
    rules = [
        dict(type="Orthogonal", layer="Linear", gain=number),
        dict(type="Sparse", name="0.weight", sparsity=number),
    ]
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    plan = initium.plan(model, rules, seed=0)
    plan.save(tmp_path / "plan.json")
    assert initium.Plan.load(tmp_path / "plan.json") == plan
    assert "gain=0.5" in plan["1.weight"].what
    assert "sparsity=0.5" in plan["0.weight"].what


def test_matrices_by_config():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(6, 9), nn.Linear(9, 9))
    rules = [
        dict(type="Orthogonal", layer=["Conv2d", "Linear"], gain=2, bias=3),
        dict(type="Sparse", name="2.weight", sparsity=0.5),
    ]
    initium.initialize(model, rules, seed=1)
    for weight in (model[0].weight.flatten(1), model[1].weight):
        wide = weight if weight.shape[0] <= weight.shape[1] else weight.T
        assert torch.allclose(wide @ wide.T, 4 * torch.eye(len(wide)), atol=1e-5)
    assert model[2].weight.eq(0).sum(0).tolist() == [5] * 9
    assert all(bool((layer.bias == 3).all()) for layer in model)
    with pytest.raises(initium.InitError, match=r"rule 1: 0\.weight: an orthogonal tensor needs"):
        initium.initialize(
            nn.Sequential(nn.LayerNorm(3)), dict(type="Orthogonal", layer="LayerNorm")
        )
