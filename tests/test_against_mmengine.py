"""What MMEngine gets wrong is right here."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

import initium
from initium import BaseModule, Sequential
from initium.here import HERE


class ToyConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.custom_bias = nn.Parameter(torch.zeros(1))

    def init_weights(self):
        with torch.no_grad():
            self.custom_bias = self.custom_bias.fill_(0)


def test_a_zero_written_over_a_zero_is_credited():
    report = Sequential(ToyConv()).init_weights()
    assert report["0.custom_bias"].info == "Initialized by user-defined `init_weights` in ToyConv"


def test_a_permutation_of_the_values_is_seen():
    class Flip(nn.Linear):
        def init_weights(self):
            self.weight.data.copy_(self.weight.data.flip(0))

    assert Sequential(Flip(2, 2)).init_weights()["0.weight"].kind == "user code"


def test_an_exception_half_way_leaves_nothing_behind():
    class Failing(nn.Module):
        def init_weights(self):
            raise RuntimeError("half way")

    model = Sequential(nn.Linear(1, 1), Failing())
    before = [sorted(vars(module)) for module in model.modules()]
    with pytest.raises(RuntimeError, match="half way"):
        model.init_weights()
    assert [sorted(vars(module)) for module in model.modules()] == before
    assert not model.is_init
    assert HERE.planner is None
    assert HERE.recorder is None
    model[1] = nn.Identity()
    with warnings.catch_warnings():
        assert model.init_weights() is not None


def test_a_compiled_child_is_seen_through():
    class Child(BaseModule):
        def __init__(self):
            super().__init__(dict(type="Constant", val=3, name="fc.weight"))
            self.fc = nn.Linear(2, 2)
            self.own = ToyConv()

    class Root(BaseModule):
        def __init__(self):
            super().__init__(dict(type="Constant", val=1, name="child.fc.bias"))
            self.child = torch.compile(Child())

    root = Root()
    # its name in the tree has a segment _orig_mod, which patterns may leave out
    assert "child._orig_mod.fc.bias" in dict(root.named_parameters())
    report = root.init_weights()
    assert root.child.fc.weight.eq(3).all()
    assert root.child.fc.bias.eq(1).all()
    assert root.child.is_init
    assert report["child._orig_mod.own.custom_bias"].kind == "user code"
    made = initium.plan(root, dict(type="Constant", val=1, override=dict(name="child.fc")))
    assert made["child.fc.bias"].name == "child._orig_mod.fc.bias"


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.bfloat16,
        torch.float16,
        torch.float64,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
    ],
)
@pytest.mark.parametrize(("a", "b"), [(-2, 2), (-0.04, 0.04), (0.1, 2), (-9, -1), (0.5, 0.6)])
def test_truncated_normal_has_no_outliers_and_stays_within_its_bounds(a, b, dtype):
    model = nn.Linear(1000, 1000, bias=False).to(dtype)
    initium.TruncNormalInit(mean=0, std=0.02, a=a, b=b, name="weight").initializer.bounds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", initium.InitWarning)
        initium.initialize(
            model, dict(type="TruncNormal", std=0.02, a=a, b=b, name="weight"), seed=1
        )
    weight = model.weight.double()
    assert weight.isfinite().all()
    assert a <= weight.min().item()
    assert weight.max().item() <= b
    # of a million values the largest lies near 4.9 sigma, not at 100 (erfinv of exactly 1)
    nearest = min(abs(a), abs(b)) if a * b > 0 else 0
    assert weight.abs().max() < nearest + 6.5 * 0.02


@pytest.mark.parametrize(("a", "b"), [(-2, 2), (-1, 0.5), (0.5, 3), (-4, -3), (5, 9)])
def test_truncated_normal_has_the_exact_moments(a, b):
    model = nn.Linear(1000, 500, bias=False)
    cfg = dict(type="TruncNormal", a=a, b=b, name="weight")
    initium.initialize(model, cfg, seed=2)
    expected = initium.plan(model, cfg)["weight"].std
    # 500,000 values: the standard error of the std is 0.1 to 0.3 %
    assert model.weight.std().item() == pytest.approx(expected, rel=0.012)


def test_import_stays_light():
    code = "import sys, initium; print([m for m in ('numba','rich','typer','yaml','transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
