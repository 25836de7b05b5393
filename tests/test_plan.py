"""Plans: they touch nothing, say everything, survive a file, and every tensor is written once."""

import json
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import initium
from initium import BaseModule, InitError, InitWarning, Plan, initialize, plan


def net():
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), fc=nn.Linear(4, 2))
    )


RULES = [
    dict(type="Kaiming", layer="Conv2d"),
    dict(type="Constant", val=1, layer="BatchNorm2d"),
    dict(type="TruncNormal", std=0.02, units="sigma", layer="Linear"),
    dict(type="Uniform", a=-0.5, b=0.5, name="norm.bias"),
]
PRECEDENCE = [
    dict(type="Constant", val=1, layer="Linear"),
    dict(type="Constant", val=2, layer="Linear"),
    dict(type="Constant", val=2, name="fc.bias"),
]


def bits(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_plan_works_on_meta_and_touches_nothing():
    with torch.device("meta"):
        model = net()
    made = plan(model, RULES, strict=True)
    assert made["fc.weight"].std == pytest.approx(0.02 * 0.8796, rel=1e-3)
    real = net()
    before, versions = bits(real), [p._version for p in real.parameters()]
    assert plan(real, RULES).lines == made.lines
    assert same(bits(real), before) and versions == [p._version for p in real.parameters()]


def test_the_table_names_tensor_shape_initializer_std_and_source():
    text = str(plan(net(), RULES, seed=3))
    row = next(line for line in text.splitlines() if "conv.weight" in line)
    for cell in (
        "4×3×3×3",
        "Kaiming(a=0, mode='fan_out'",
        "0.2357",
        "init_cfg of Sequential, rule 1",
    ):
        assert cell in row
    assert "seed 3" in text
    assert "<td>conv.weight</td>" in plan(net(), RULES)._repr_html_()


def test_explain_lists_every_rule_and_why_the_last_one_won():
    made = plan(net(), PRECEDENCE)
    text = made.explain("fc.weight")
    assert (
        "1. Constant(val=1) — init_cfg of Sequential, rule 1: beaten by init_cfg of Sequential, rule 2"
        in text
    )
    assert "2. Constant(val=2) — init_cfg of Sequential, rule 2: wins" in text
    assert "nothing mentions it" in made.explain("conv.weight")
    with pytest.raises(KeyError, match=r"Did you mean 'fc\.weight'"):
        made.explain("fc.wieght")


def test_a_repeated_constant_keeps_the_first_source():
    made = plan(
        net(), [dict(type="Constant", val=3, layer="Linear"), dict(type="Normal", layer="Linear")]
    )
    assert made["fc.bias"].write.source.endswith("rule 1")
    assert "the same constant again: changes nothing" in made.explain("fc.bias")
    assert made["fc.weight"].write.source.endswith("rule 2")


@pytest.mark.parametrize("seed", [None, 5, "x", ("a", (1, "b"))])
def test_json_loses_nothing(tmp_path, seed):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))
            self.emb = nn.Embedding(3, 2, padding_idx=1)

        def init_weights(self):
            self.w.data.fill_(1)

    class Root(BaseModule):
        def __init__(self):
            super().__init__(
                [
                    *RULES,
                    dict(type="Normal", layer="Embedding"),
                    dict(type="Keep", name="norm.weight"),
                ]
            )
            self.conv, self.norm, self.own = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), Own()

    torch.save(Root().state_dict(), tmp_path / "x.pth")
    root = Root()
    root.init_cfg.append(dict(type="Pretrained", checkpoint=str(tmp_path / "x.pth")))
    made = plan(root, seed=seed)
    made.save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    assert loaded == made and str(loaded) == str(made)
    assert made.diff(loaded) == ""
    json.loads((tmp_path / "plan.json").read_text())


def test_a_plan_file_and_its_seed_give_the_same_bits(tmp_path):
    a, b, c = net(), net(), net()
    plan(a, RULES, seed=11).save(tmp_path / "plan.json")
    initialize(a, RULES, seed=11)
    initium.apply(Plan.load(tmp_path / "plan.json"), b)
    initialize(c, RULES, seed=12)
    assert same(bits(a), bits(b))
    assert not torch.equal(a.fc.weight, c.fc.weight)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"initium_plan": 9}', '{"initium_plan": 1, "lines": 3}']
)
def test_a_file_that_is_no_plan(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InitError, match=r"p\.json is no plan"):
        Plan.load(tmp_path / "p.json")
    with pytest.raises(FileNotFoundError, match="there is no plan file"):
        Plan.load(tmp_path / "q.json")


def test_a_plan_of_another_model_is_refused_before_the_first_write():
    other = net()
    other.fc = nn.Linear(4, 3)
    before = bits(other)
    with pytest.raises(
        InitError, match=r"fc\.weight: the plan is for the shape \[2, 4\], but it is \[3, 4\]"
    ):
        initium.apply(plan(net(), RULES), other)
    assert same(bits(other), before)


def test_diff_shows_what_changed():
    changed = [*RULES[:2], dict(RULES[2], std=0.03), RULES[3]]
    text = plan(net(), RULES).diff(plan(net(), changed))
    assert [line[0] for line in text.splitlines()] == ["-", "+"]
    assert "std=0.02" in text and "std=0.03" in text


def test_every_tensor_is_written_once():
    model = net()
    model.big = nn.Linear(2000, 2000)
    model.table = nn.Embedding(5, 2, padding_idx=0)
    versions = {name: p._version for name, p in model.named_parameters()}
    initialize(
        model, [dict(type="Normal", layer=["Conv2d", "Linear", "BatchNorm2d", "Embedding"]), *RULES]
    )
    assert all(p._version == versions[name] + 1 for name, p in model.named_parameters())


def test_tied_tensors_are_one():
    model = nn.Module()
    model.embed, model.head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
    model.head.weight = model.embed.weight
    made = plan(
        model, [dict(type="Normal", layer="Embedding"), dict(type="Uniform", layer="Linear")]
    )
    assert len(made) == 1
    assert made["head.weight"] is made["embed.weight"]
    assert str(made["head.weight"].write) == "Uniform(a=0, b=1)"
    version = model.embed.weight._version
    initium.apply(made, model)
    assert model.embed.weight._version == version + 1 and model.embed.weight.min() >= 0


def test_strict_lists_unmatched_shadowed_and_unset():
    rules = [
        dict(type="Normal", layer="Linear"),
        dict(type="Xavier", layer="Conv3d"),
        dict(type="Normal", std=2, bias=1, layer="Linear"),
    ]
    model = net()
    with pytest.raises(InitError) as raised:
        initialize(model, rules, strict=True)
    text = str(raised.value)
    assert "rule 2: layer 'Conv3d' is no class" in text
    assert (
        "rule 1: every tensor that it sets is set again by init_cfg of Sequential, rule 3" in text
    )
    assert (
        "4 tensors are set by nothing" in text
        and "conv.weight, conv.bias, norm.weight, norm.bias" in text
    )
    with pytest.warns(InitWarning) as shown:
        report = initialize(model, rules)
    assert len(shown) == 2
    assert len(report.findings) == 3 and report.counts == {"unset": 4, "filled": 2}


def test_keep_is_the_named_way_out():
    model = net()
    before = bits(model)
    report = initialize(
        model,
        [
            dict(type="Constant", val=1, layer="Linear"),
            dict(type="Keep", name=["conv.*", "norm.**"]),
        ],
        strict=True,
    )
    assert report.counts == {"kept": 4, "filled": 2}
    assert torch.equal(model.conv.weight, before["conv.weight"])


def test_advice_on_bounds_that_truncate_nothing():
    with pytest.warns(
        InitWarning, match="truncates nothing: its bounds are 100 standard deviations away"
    ):
        initialize(net(), dict(type="TruncNormal", std=0.02, layer="Linear"))


# properties


@settings(max_examples=30, deadline=None)
@given(st.permutations(RULES[:3]), st.integers(0, 2**70))
def test_the_order_of_unrelated_rules_does_not_matter(rules, seed):
    a, b = net(), net()
    initialize(a, RULES[:3], seed=seed)
    initialize(b, rules, seed=seed)
    assert same(bits(a), bits(b))


BAD = [
    dict(type="Nope", layer="Linear"),
    dict(type="Xavier", layer="BatchNorm2d"),
    dict(type="Constant", val=1, override=dict(name="nowhere")),
    dict(type="Normal", std=-1, layer="Linear"),
    dict(type="Pretrained", checkpoint="/nowhere.pth"),
    dict(type="Constant", val="x", layer="Linear"),
]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(RULES), max_size=4),
    st.sampled_from(BAD),
    st.integers(0, 4),
    st.booleans(),
)
def test_an_error_in_rule_k_of_n_leaves_the_model_unchanged(rules, bad, k, tree):
    rules = [*rules[:k], bad, *rules[k:]]
    model = initium.Sequential(*net(), init_cfg=rules) if tree else net()
    if tree:
        rules[:] = [r if "override" not in r and "name" not in r else dict(BAD[0]) for r in rules]
        model.init_cfg = rules
    before = bits(model)
    with pytest.raises(InitError):
        model.init_weights() if tree else initialize(model, rules)
    assert same(bits(model), before)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*RULES, *PRECEDENCE]), max_size=5), st.integers())
def test_planning_never_changes_a_byte(rules, seed):
    model = net()
    before, state = bits(model), torch.get_rng_state()
    plan(model, rules, seed=seed)
    assert same(bits(model), before) and torch.equal(state, torch.get_rng_state())


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**64),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.booleans(),
)
def test_values_depend_on_seed_and_name_alone(seed, dtype, channels_last):
    a, b = (
        net(),
        nn.Sequential(
            OrderedDict(fc=nn.Linear(4, 2), extra=nn.Linear(1, 1), conv=nn.Conv2d(3, 4, 3))
        ),
    )
    b = b.to(dtype)
    if channels_last:
        b = b.to(memory_format=torch.channels_last)
    rule = dict(type="Normal", layer=["Conv2d", "Linear"])
    initialize(a, rule, seed=seed)
    initialize(b, rule, seed=seed)
    assert torch.equal(a.conv.weight.to(dtype), b.conv.weight)
    assert torch.equal(a.fc.weight.to(dtype), b.fc.weight)


def test_a_default_device_does_not_matter():
    a, b = net(), net()
    initialize(a, RULES, seed=1)
    with torch.device("meta"):
        initialize(b, RULES, seed=1)
        initialize(net_on_cpu := net().to_empty(device="cpu"), RULES, seed=None)
    assert same(bits(a), bits(b)) and not same(bits(a), bits(net_on_cpu))


def test_the_plan_of_a_model_with_its_own_init_weights_has_what_that_writes():
    class Own(BaseModule):
        def __init__(self):
            super().__init__(dict(type="Constant", val=1, layer="Linear"))
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

        def init_weights(self):
            super().init_weights()
            nn.init.normal_(self.b.weight, std=3)

    model = Own()
    before = bits(model)
    planned = plan(model)
    assert str(planned["a.weight"].write) == "Constant(val=1)"
    assert str(planned["b.weight"].write) == "Normal(mean=0.0, std=3.0)"
    assert "Own.init_weights, test_plan.py:" in planned["b.weight"].write.source
    assert same(bits(model), before)
    assert not model.is_init
    assert planned.seed is not None
    initium.apply(planned, model)
    values = bits(model)
    again = Own()
    again.init_weights()
    assert not same(bits(again), values)  # with another seed
    initium.apply(planned, again)
    assert same(bits(again), values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e5m2])
@pytest.mark.parametrize(("a", "b"), [(0, 1), (-0.3, 0.7), (-2, -1)])
def test_uniform_never_returns_b_whatever_the_precision(dtype, a, b):
    model = nn.Linear(1000, 300, bias=False).to(dtype)
    initialize(model, dict(type="Uniform", a=a, b=b, name="weight"), seed=0)
    weight = model.weight.double()
    assert a <= weight.min().item()
    assert weight.max().item() < b


def test_a_plan_file_holds_what_a_users_initializer_wrote(tmp_path):
    def threes(module):
        nn.init.constant_(module.fc.weight, 3)
        nn.init.normal_(module.fc.bias)
        module.conv.weight.data.copy_(
            torch.arange(module.conv.weight.numel()).view_as(module.conv.weight)
        )

    model = net()
    planned = plan(model, [dict(type="Constant", val=1, layer="Linear"), threes], seed=2)
    planned.save(tmp_path / "p.json")
    assert Plan.load(tmp_path / "p.json") == planned
    other = net()
    initium.apply(planned, model)
    initium.apply(Plan.load(tmp_path / "p.json"), other)
    for name in ("fc.weight", "fc.bias", "conv.weight"):
        assert bits(other)[name].equal(bits(model)[name])
    assert model.fc.weight.eq(3).all()
    assert model.conv.weight.flatten()[:3].tolist() == [0, 1, 2]
    (tmp_path / "p.values.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="keep both files together"):
        Plan.load(tmp_path / "p.json")


def test_a_report_is_a_sequence_of_entries_by_name():
    report = initium.initialize(nn.Linear(2, 2), dict(type="Normal", layer="Linear"), seed=0)
    assert [entry.name for entry in report] == ["weight", "bias"]
    assert len(report) == 2 and report["bias"].kind == "filled"
