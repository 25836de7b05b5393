"""Coverage, protection and verification: nothing is left out, overwritten or off without a word."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import initium
from initium import (
    BaseModule,
    InitError,
    InitWarning,
    build,
    initialize,
    plan,
    protect,
    unprotect,
    verify,
)


def net():
    return nn.Sequential(nn.Linear(40, 50), nn.BatchNorm1d(50), nn.Linear(50, 3))


def bits(model):
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[n], other[n]) for n in one)


# ---- coverage


class Gaps(nn.Module):
    def __init__(self):
        super().__init__()
        self.empty = nn.Parameter(torch.empty(3))
        self.part = nn.Parameter(torch.empty(4, 2))
        nn.init.ones_(self.part[:3])
        self.full = nn.Parameter(torch.empty(4, 2))
        for row in self.full.data:
            row.fill_(1)
        self.register_buffer("buffer", torch.empty(2, 2))


def test_tensors_that_are_never_written_are_found():
    text = (
        "3 tensors are never written, so that their values are uninitialised memory; write them in "
        r"the constructor, or by a rule: empty, part \(2 elements\), buffer"
    )
    with pytest.warns(InitWarning, match=text):
        build(Gaps, seed=0)
    with pytest.raises(InitError, match=text):
        build(Gaps, seed=0, strict=True)
    rules = dict(type="Constant", val=1, name=["empty", "part"])
    with pytest.raises(InitError, match=r"1 tensors are never written.*: buffer"):
        build(Gaps, seed=0, init_cfg=rules, strict=True)


def test_strict_lists_everything_at_once_and_writes_nothing():
    kept = net()
    before = bits(kept)

    def factory():
        nn.init.zeros_(kept[0].weight)
        return Gaps()

    rules = [
        dict(type="Constant", val=1, layer="Linaer"),
        dict(type="Constant", val=2, name="patr"),
        dict(type="Constant", val=3, name="full"),
        dict(type="Constant", val=4, name="full"),
    ]
    with pytest.raises(InitError) as caught:
        build(factory, seed=0, init_cfg=rules, strict=True, cover="all")
    text = str(caught.value)
    assert "layer 'Linaer' is no class in Gaps" in text
    assert "name 'patr' matches no parameter of Gaps. Did you mean 'part'" in text
    assert "rule 3: every tensor that it sets is set again by init_cfg of Gaps, rule 4" in text
    assert "3 tensors are never written" in text
    assert "cover='all': 1 parameters have only what their constructor gives them" in text
    assert "part" in text.rsplit("cover=", 1)[1]
    assert same(bits(kept), before)


def test_cover_all_asks_for_a_rule_for_each_parameter():
    rules = [dict(type="Kaiming", layer="Linear")]
    text = r"cover='all': 2 parameters have only what .*: 1.weight, 1.bias"
    with pytest.warns(InitWarning, match=text):
        build(net, seed=0, init_cfg=rules, cover="all")
    with pytest.raises(InitError, match=text):
        build(net, seed=0, init_cfg=rules, cover="all", strict=True)
    kept = [*rules, dict(type="Keep", name="1.*")]
    model = build(net, seed=0, init_cfg=kept, cover="all", strict=True)
    assert model[1].weight.eq(1).all()
    with pytest.raises(InitError, match=r"cover must be None or 'all', but got 'most'"):
        build(net, seed=0, cover="most")
    # on a model that is there, a parameter that nothing sets is a finding of its own
    with pytest.raises(InitError, match=r"2 tensors are set by nothing"):
        initialize(net(), rules, cover="all", strict=True)
    assert initialize(net(), kept, cover="all", strict=True).counts == {"filled": 4, "kept": 2}


# ---- protection


def checkpoint(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "x.pth")
    return dict(type="Pretrained", checkpoint=str(tmp_path / "x.pth"))


def test_what_was_loaded_is_protected_from_rules(tmp_path):
    model = net()
    load = checkpoint(tmp_path, net())
    initialize(model, load)
    before = bits(model)
    text = (
        r"0.weight: it is protected \(loaded by init_cfg of Sequential, rule 1 from .*x.pth: 0.weight\), "
        r"but init_cfg of Sequential, rule 1 would write Normal\(mean=0, std=1\) to it; leave it out "
        r"there, or call initium.unprotect\(model, '0.weight'\) first"
    )
    with pytest.raises(InitError, match=text):
        initialize(model, dict(type="Normal", layer="Linear"))
    with pytest.raises(InitError, match=r"is protected"):
        plan(model, dict(type="Normal", layer="Linear"))
    assert same(bits(model), before)
    initialize(model, dict(type="Keep", name="*.weight"))
    initialize(model, load)  # another checkpoint may take its place
    initialize(model, [dict(type="Normal", layer="Linear"), load])
    unprotect(model, "2.*")
    initialize(model, dict(type="Constant", val=5, name="2.*"))
    assert model[2].weight.eq(5).all()
    assert torch.equal(model[0].weight, before["0.weight"])


class Loader(BaseModule):
    def __init__(self, init_cfg, code):
        super().__init__(init_cfg)
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 3)
        self.code = code

    def init_weights(self):
        super().init_weights()
        self.code(self)


def test_what_was_loaded_is_protected_from_user_code(tmp_path):
    load = checkpoint(tmp_path, Loader(None, None))
    model = Loader(load, lambda m: nn.init.zeros_(m.head.weight))
    before = bits(model)
    text = r"head.weight: it is protected \(loaded by init_cfg of Loader, rule 1 .*, but test_what_was_.*test_verify.py:\d+ would write Constant\(val=0\) to it"
    with pytest.raises(InitError, match=text):
        model.init_weights()
    assert same(bits(model), before)
    assert not model.is_init

    def released(m):
        unprotect(m, "head.weight")
        nn.init.zeros_(m.head.weight)

    model = Loader(load, released)
    report = model.init_weights()
    assert report.counts == {"loaded": 3, "user code": 1}
    assert model.head.weight.eq(0).all()
    report = Loader(load, lambda m: nn.init.zeros_(torch.empty(3))).init_weights()
    assert report.counts == {"loaded": 4}


def record_zeros(model):
    with initium.recording(seed=0) as rec:
        rec.name(model)
        nn.init.zeros_(model[0].bias)


def test_protect_and_unprotect_by_name():
    model = net()
    assert protect(model, ["0.*", "1.running_mean"]) == ["0.weight", "0.bias", "1.running_mean"]
    with pytest.raises(InitError, match=r"0.weight: it is protected \(protect\(\), as 0.weight\)"):
        initialize(model, dict(type="Normal", layer="Linear"))
    with pytest.raises(InitError, match=r"is protected"):
        record_zeros(model)
    assert not model[0].bias.eq(0).any()
    initialize(model, dict(type="Normal", name="2.*"))
    assert len(protect(model)) == 9
    unprotect(model)
    initialize(model, dict(type="Normal", layer="Linear"))
    with pytest.raises(
        InitError, match=r"'0.wieght' matches no tensor of Sequential. Did you mean '0.weight'"
    ):
        protect(model, "0.wieght")
    # a tied weight is protected under both of its names, and within a larger model
    model[2].weight = nn.Parameter(torch.ones(3, 50))
    tied = nn.Sequential(nn.Linear(50, 3), model)
    tied[0].weight = model[2].weight
    protect(model, "2.weight")
    with pytest.raises(InitError, match=r"is protected"):
        initialize(tied, dict(type="Constant", val=2, name="0.weight"))
    assert all("protect" not in key for module in tied.modules() for key in vars(module))


def test_verify_sees_a_change_of_what_is_protected(tmp_path):
    model = net()
    initialize(model, checkpoint(tmp_path, net()))
    assert verify(model) == 9
    with torch.no_grad():
        model[0].bias[3] += 1
    with pytest.raises(
        InitError,
        match=r"1 of 9 tensors are not as planned: 0.bias: it has changed since it was loaded by",
    ):
        verify(model)


# ---- verification

RULES = [
    dict(type="Normal", std=0.02, name="0.weight"),
    dict(type="Uniform", a=-1, b=2, name="2.weight"),
    dict(type="Constant", val=3, name="0.bias"),
    dict(type="TruncNormal", std=0.5, a=-2, b=2, units="sigma", name="1.weight"),
]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m[0].weight.mul_(1.5), "0.weight: its standard deviation is 0.03"),
        (lambda m: m[0].weight.add_(0.01), "0.weight: its mean is 0.01"),
        (lambda m: m[0].weight[0, 0].fill_(5), r"0.weight: a value lies outside of \[-0.18, 0.18\]"),
        (lambda m: m[2].weight[0, 0].fill_(2.1), r"2.weight: a value lies outside of \[-1, 2\]"),
        (lambda m: m[2].weight[0, 0].fill_(-1.1), r"2.weight: a value lies outside of \[-1, 2\]"),
        (lambda m: m[2].weight[0, 0].fill_(float("inf")), "2.weight: 1 values are NaN or infinite"),
        (lambda m: m[0].bias[7].fill_(4), "0.bias: not every value is 3"),
        (lambda m: m[1].weight[7].fill_(1.1), r"1.weight: a value lies outside of \[-1.0, 1.0\]"),
        (lambda m: m[1].running_var[7].fill_(float("nan")), "1.running_var: not every value is 1"),
        (lambda m: setattr(m[1], "weight", nn.Parameter(torch.empty(50, device="meta"))), "1.weight: it is on meta"),
        (lambda m: setattr(m, "2", nn.Identity()), "2.weight: the model has no such tensor"),
        (lambda m: m[2].bias.fill_(float("nan")), "2.bias: 3 values are NaN or infinite"),
    ],
)  # fmt: skip
def test_verify_finds_what_is_not_as_planned(change, message):
    model = build(net, seed=0, init_cfg=RULES)
    assert verify(model) == 9
    with torch.no_grad():
        change(model)
    with pytest.raises(InitError, match=message):
        verify(model)


def test_verify_after_initialize_and_with_a_plan_of_ones_own():
    model = net()
    with pytest.raises(InitError, match=r"there is no plan of this Sequential"):
        verify(model)
    initialize(model, RULES, seed=1)
    assert verify(model) == 6
    other = plan(net(), dict(type="Constant", val=1, name="2.bias"))
    with pytest.raises(InitError, match=r"2.bias: not every value is 1"):
        verify(model, other)
    initialize(model, dict(type="Constant", val=float("nan"), name="2.bias"))
    assert verify(model) == 6  # the plan asked for it


def test_captured_values_are_verified():
    class Tables(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("steps", torch.arange(5))
            self.embedding = nn.Embedding(9, 5, padding_idx=2)

    model = build(Tables, seed=0, device="meta")
    with pytest.raises(InitError, match=r"steps: it is on meta, without memory"):
        verify(model)
    initium.materialize(model)
    verify(model)
    model.steps[2] = 7
    with pytest.raises(InitError, match=r"steps: it is not what .*Tables.__init__, .* computed"):
        verify(model)
    model.steps[2] = 2
    model.embedding.weight.data[2, 1] = 1
    with pytest.raises(InitError, match=r"embedding.weight: not every value is 0"):
        verify(model)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**40),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
    st.sampled_from([
        dict(type="Normal", std=0.02), dict(type="Uniform", a=-3, b=1),
        dict(type="TruncNormal", std=1, a=-0.5, b=2), dict(type="Xavier"),
        dict(type="Kaiming", distribution="uniform"), dict(type="Constant", val=0.3),
    ]),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)  # fmt: skip
def test_verify_holds_for_what_initium_draws(seed, dtype, rule, shape):
    model = nn.Linear(*shape).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        initialize(model, dict(rule, layer="Linear"), seed=seed)
    assert verify(model) == 2


class WithTable(nn.Module):
    """A table that the constructor computes, as rotary embeddings are."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.exp(torch.arange(4.0) / 3))
        self.linear = nn.Linear(2, 2)


@pytest.mark.parametrize("device", [None, "meta"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_captured_values_are_verified_in_the_dtype_of_the_model(dtype, device):
    model = initium.build(WithTable, seed=0, dtype=dtype, device=device)
    if device == "meta":
        initium.materialize(model)
    assert model.table.dtype == dtype
    assert initium.verify(model) == 3
    model.table[1] += 0.1
    with pytest.raises(InitError, match=r"table: it is not what WithTable.__init__, .* computed"):
        initium.verify(model)
