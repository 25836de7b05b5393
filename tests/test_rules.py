"""Initializers in configs: by name, by class, called; layers, overrides, names, errors."""

import copy
import math
from collections import OrderedDict
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import initium
import openmmlab
from initium import InitError, InitWarning, initialize


def small():
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), fc=nn.Linear(4, 2))
    )


def constant(**kw):
    return dict(type="Constant", val=1, bias=2, **kw)


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


INITS = {
    "Constant": (initium.ConstantInit, dict(val=0.3), 0.0),
    "Xavier": (initium.XavierInit, dict(gain=2), 2 * math.sqrt(2 / 300)),
    "Normal": (initium.NormalInit, dict(std=0.1), 0.1),
    "TruncNormal": (initium.TruncNormalInit, dict(std=0.1, units="sigma"), 0.08796),
    "Uniform": (initium.UniformInit, dict(a=-1, b=1), 1 / math.sqrt(3)),
    "Kaiming": (initium.KaimingInit, dict(mode="fan_in"), math.sqrt(2 / 200)),
    "Caffe2Xavier": (initium.Caffe2XavierInit, {}, math.sqrt(1 / 200)),
}


@pytest.mark.parametrize("how", ["name", "class", "call", "object"])
@pytest.mark.parametrize("name", INITS)
def test_every_initializer_every_way(name, how):
    cls, arguments, std = INITS[name]
    model = nn.Sequential(nn.Linear(200, 100))
    common = dict(arguments, layer="Linear", bias_prob=0.01)
    torch.manual_seed(0)
    if how == "call":
        cls(**common)(model)
    elif how == "object":
        initialize(model, cls(**common))
    else:
        initialize(model, dict(common, type=name if how == "name" else cls))
    weight = model[0].weight
    # 20,000 values: the sample std of a normal has a standard error of 0.5%
    assert weight.std().item() == pytest.approx(std, rel=0.03, abs=1e-6)
    assert initium.plan(model, cls(**common))["0.weight"].std == pytest.approx(std, rel=1e-3)
    assert torch.equal(model[0].bias, torch.full((100,), initium.bias_init_with_prob(0.01)))
    assert name in initium.WEIGHT_INITIALIZERS


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("name", ["Xavier", "Kaiming", "Caffe2Xavier"])
def test_both_distributions_have_the_same_std(name, distribution):
    plan = initium.plan(small(), dict(type=name, layer="Conv2d", distribution=distribution))
    other = initium.plan(small(), dict(type=name, layer="Conv2d"))
    assert plan["conv.weight"].std == pytest.approx(other["conv.weight"].std)


@pytest.mark.parametrize(
    ("function", "arguments", "same"),
    [
        (initium.constant_init, dict(val=3), lambda w: nn.init.constant_(w, 3)),
        (initium.xavier_init, dict(gain=2), lambda w: nn.init.xavier_normal_(w, 2)),
        (initium.xavier_init, dict(distribution="uniform"), lambda w: nn.init.xavier_uniform_(w)),
        (initium.normal_init, dict(std=2), lambda w: nn.init.normal_(w, 0, 2)),
        (initium.uniform_init, dict(a=-1, b=2), lambda w: nn.init.uniform_(w, -1, 2)),
        (initium.trunc_normal_init, dict(std=1, a=-1, b=1), lambda w: nn.init.trunc_normal_(w, 0, 1, -1, 1)),
        (initium.kaiming_init, {}, lambda w: nn.init.kaiming_normal_(w, 0, "fan_out", "relu")),
        (initium.kaiming_init, dict(distribution="uniform", a=1, nonlinearity="leaky_relu", mode="fan_in"),
         lambda w: nn.init.kaiming_uniform_(w, 1, "fan_in", "leaky_relu")),
        (initium.caffe2_xavier_init, {}, lambda w: nn.init.kaiming_uniform_(w, 1, "fan_in", "leaky_relu")),
        (initium.c2_msra_fill, {}, lambda w: nn.init.kaiming_normal_(w, 0, "fan_out", "relu")),
        (initium.c2_xavier_fill, {}, lambda w: nn.init.kaiming_uniform_(w, 1, "fan_in", "leaky_relu")),
    ],
)  # fmt: skip
def test_module_functions_have_torchs_distribution(function, arguments, same):
    layer, torchs = nn.Conv2d(40, 60, 3), nn.Conv2d(40, 60, 3)
    torch.manual_seed(3)
    function(layer, **arguments)
    same(torchs.weight)
    assert layer.bias.eq(0).all()
    # 21,600 values each; quantiles of two samples of one distribution agree within 5% of its spread
    quantiles = torch.linspace(0.01, 0.99, 9)
    spread = max(torchs.weight.std().item(), 1e-6)
    off = layer.weight.flatten().quantile(quantiles) - torchs.weight.flatten().quantile(quantiles)
    assert off.abs().max() < 0.08 * spread


def test_functions_stay_on_the_module_and_accept_one_without_bias():
    outer = nn.Sequential(nn.Linear(2, 2, bias=False))
    before = snapshot(outer)
    initium.constant_init(outer, 5)
    assert unchanged(outer, before)
    initium.constant_init(outer[0], 5)
    assert outer[0].weight.eq(5).all()


def test_functions_on_a_module_say_what_they_are_for():
    weight = nn.Linear(2, 2).weight
    before = weight.detach().clone()
    with pytest.warns(
        InitWarning, match=r"^NormalInit: .* bias=3 is asked for on a Parameter, .*nothi"
    ):
        initium.normal_init(weight, bias=3)  # as in MMEngine
    assert weight.equal(before)
    with pytest.raises(InitError, match=r"module must be a torch.nn.Module, but got NoneType$"):
        initium.constant_init(None, 1)


@pytest.mark.parametrize("function", [initium.xavier_init, initium.kaiming_init])
def test_functions_refuse_an_unknown_distribution(function):
    with pytest.raises(AssertionError, match="distribution must be 'normal' or 'uniform'"):
        function(nn.Linear(2, 2), distribution="student-t")


def test_bias_init_with_prob():
    assert torch.sigmoid(torch.tensor(initium.bias_init_with_prob(0.3))).item() == pytest.approx(
        0.3
    )


# layers


class Block(nn.Linear):
    pass


class Deep(Block):
    pass


@pytest.mark.parametrize(
    "layer", ["Deep", "Block", "Linear", "torch.nn.Linear", nn.Linear, Block, [nn.Conv2d, "Block"]]
)
def test_layer_matches_the_class_and_every_ancestor(layer):
    model = nn.Sequential(Deep(2, 2), nn.Conv2d(1, 1, 1))
    initialize(model, constant(layer=layer))
    assert model[0].weight.eq(1).all()


def test_unknown_layer_warns_and_is_an_error_in_strict_mode():
    with pytest.warns(
        InitWarning, match=r"layer 'Conv2D' is no class in Sequential\. Did you mean 'Conv2d'"
    ):
        initialize(small(), [constant(layer="Conv2D"), constant(layer="Linear")])
    model = small()
    before = snapshot(model)
    with pytest.raises(InitError, match="Did you mean 'Conv2d'"):
        initialize(model, constant(layer=["Conv2D", "Linear"]), strict=True)
    assert unchanged(model, before)


@pytest.mark.parametrize(
    ("layer", "weights", "biases"),
    [
        (nn.LSTM(2, 3, num_layers=2, bidirectional=True, proj_size=2), 12, 8),
        (nn.GRU(2, 3), 2, 2),
        (nn.LSTMCell(2, 3), 2, 2),
        (nn.MultiheadAttention(4, 2), 2, 2),
        (nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True), 4, 4),
        (nn.Bilinear(2, 3, 4), 1, 1),
        (nn.PReLU(3), 1, 0),
        (nn.LayerNorm(3), 1, 1),
    ],
)
def test_weights_and_biases_whatever_they_are_called(layer, weights, biases):
    initialize(nn.Sequential(layer), constant(layer=type(layer).__name__))
    values = [parameter.flatten()[0].item() for parameter in layer.parameters()]
    assert (values.count(1), values.count(2)) == (weights, biases)
    assert len(values) == weights + biases


@pytest.mark.parametrize("cls", [nn.Embedding, nn.EmbeddingBag])
@pytest.mark.parametrize(
    "rule", [dict(layer="Embedding"), dict(layer="EmbeddingBag"), dict(name="0.weight")]
)
def test_padding_row_stays_zero(cls, rule):
    if rule.get("layer") not in (None, cls.__name__):
        return
    model = nn.Sequential(cls(5, 3, padding_idx=2))
    initialize(model, dict(type="Constant", val=4, **rule))
    assert model[0].weight[2].eq(0).all()
    assert model[0].weight[[0, 1, 3, 4]].eq(4).all()


def test_fans_of_a_vector_are_an_error_that_names_the_tensor():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(3))
    before = snapshot(model)
    with pytest.raises(InitError, match=r"rule 1: 1\.weight: fan_in and fan_out need .* \[3\]"):
        initialize(model, dict(type="Xavier", layer=["Linear", "LayerNorm"]))
    assert unchanged(model, before)


def test_computed_weights_are_reported():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    with pytest.warns(InitWarning, match="weight of a .*Linear is computed from other tensors"):
        initialize(model, constant(layer="Linear"))
    assert model[0].bias.eq(2).all()


OLDER = {
    "pruning": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    "spectral_norm": nn.utils.spectral_norm,
    "weight_norm": nn.utils.weight_norm,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("how", OLDER)
def test_weights_that_hooks_compute_are_reported(how):
    layer = nn.Linear(2, 2)
    OLDER[how](layer)
    weight = layer.weight.clone()
    with pytest.warns(InitWarning, match="weight of a Linear is computed from other tensors"):
        initialize(nn.Sequential(layer), constant(layer="Linear"))
    assert layer.bias.eq(2).all() and layer.weight.equal(weight)
    with pytest.raises(InitError, match="weight of a Linear is computed"):
        initialize(nn.Sequential(layer), constant(layer="Linear"), strict=True)


class Frozen(nn.Module):
    """A norm whose tensors are all buffers; integers and running statistics are no weights."""

    def __init__(self):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.full((3,), 7.0))
        self.register_buffer("scaled_weight", torch.full((3,), 7.0))
        self.register_buffer("num_batches_tracked", torch.tensor(7))


@pytest.mark.parametrize("name", ["Constant", "Normal", "Uniform", "TruncNormal"])
def test_weights_that_are_buffers_are_set_as_in_mmengine(name):
    arguments = dict(bias=2, layer="Frozen") | (dict(val=1) if name == "Constant" else {})
    changed = []
    for package in (openmmlab.theirs("mmengine.model"), initium):
        model = nn.Sequential(Frozen())
        getattr(package, f"{name}Init")(**arguments)(model)
        changed.append({key for key, value in model.state_dict().items() if value.ne(7).any()})
    assert changed == [{"0.weight", "0.bias"}] * 2
    report = initialize(nn.Sequential(Frozen()), dict(type=name, **arguments), strict=True)
    assert report.counts == {"filled": 2}


def test_integer_buffers_and_the_class_weights_of_a_loss_are_no_layers_weights():
    quantized = nn.Module()
    quantized.register_buffer("weight", torch.ones(3, dtype=torch.int8))
    model = nn.ModuleDict(
        dict(head=nn.Linear(2, 2), q=quantized, loss=nn.CrossEntropyLoss(torch.ones(3)))
    )
    init = initium.ConstantInit(5, bias=5)
    init.wholemodule = True
    init(model)
    assert {key for key, value in model.state_dict().items() if value.eq(5).all()} == {
        "head.weight",
        "head.bias",
    }


def test_a_rule_whose_layers_all_have_no_tensors_warns():
    bare, norm = nn.LayerNorm(3, elementwise_affine=False), nn.LayerNorm(3)
    with pytest.warns(InitWarning, match=r"rule 1: it sets nothing: .* no bias in LayerNorm"):
        initialize(nn.Sequential(bare), constant(layer="LayerNorm"))
    finding, *_ = initium.plan(nn.Sequential(bare), constant(layer="LayerNorm")).findings
    assert finding.kind == "unmatched"
    with pytest.warns(InitWarning, match="no bias in ReLU"):
        initialize(nn.Sequential(norm, nn.ReLU()), constant(override=dict(name="1")))
    # some with, some without is as usual; a function leaves such a module as it is
    initialize(nn.Sequential(bare, norm), constant(layer="LayerNorm"), strict=True)
    initium.constant_init(bare, 1)


# overrides


def test_override_takes_the_rules_arguments_or_its_own():
    model = small()
    initialize(
        model,
        constant(
            layer="BatchNorm2d",
            override=[dict(name="conv"), dict(name="fc", type="Constant", val=9)],
        ),
    )
    assert model.conv.weight.eq(1).all() and model.conv.bias.eq(2).all()
    assert model.fc.weight.eq(9).all() and model.fc.bias.eq(0).all()


def test_override_reaches_every_layer_of_its_scope_and_dotted_paths():
    model = nn.Sequential(OrderedDict(body=small(), head=nn.Linear(1, 1)))
    initialize(model, constant(override=dict(name="body", type="Constant", val=5)))
    assert all(p.flatten()[0] in (5, 0) for p in model.body.parameters())
    initialize(model, constant(override=dict(name="body.fc", type="Constant", val=6)))
    assert model.body.fc.weight.eq(6).all() and model.body.conv.weight.eq(5).all()


def test_override_of_a_bare_parameter():
    model = nn.Module()
    model.token = nn.Parameter(torch.zeros(1, 3))
    model.fc = nn.Linear(2, 2)
    initialize(model, constant(layer="Linear", override=dict(name="token", type="Constant", val=8)))
    assert model.token.eq(8).all() and model.fc.weight.eq(1).all()
    initialize(model, constant(override=dict(name="fc.bias", type="Constant", val=3)))
    assert model.fc.bias.eq(3).all()


@pytest.mark.parametrize("name", ["con", "conv.weigth", "conv.weight.x", "fc.0"])
def test_override_of_what_is_not_there(name):
    model = small()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match=f"has no submodule or parameter '{name}'"):
        initialize(model, [constant(layer="Linear"), constant(override=dict(name=name))])
    assert unchanged(model, before)


def test_missing_override_names_the_nearest():
    with pytest.raises(RuntimeError, match=r"Did you mean .*'conv'"):
        initialize(small(), constant(override=dict(name="con")))


def test_layer_in_an_override_is_reported():
    with pytest.warns(InitWarning, match="layer= in an override has no effect"):
        initialize(
            small(), constant(override=dict(name="fc", type="Constant", val=1, layer="Linear"))
        )


# names


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(2, 6)
        self.scale = nn.Parameter(torch.zeros(2))


def vit():
    model = nn.Module()
    model.token = nn.Parameter(torch.zeros(1, 2))
    model.blocks = nn.ModuleList(
        nn.ModuleDict({"attn": Attention(), "fc": nn.Linear(2, 2)}) for _ in range(2)
    )
    return model


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("token", ["token"]),
        ("blocks.*.attn.qkv.weight", ["blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.weight"]),
        ("blocks.0.**", [f"blocks.0.{x}" for x in ("attn.scale", "attn.qkv.weight", "attn.qkv.bias", "fc.weight", "fc.bias")]),
        ("**.sc*le", ["blocks.0.attn.scale", "blocks.1.attn.scale"]),
        ("**.token", ["token"]),
        (["token", "blocks.1.fc.bias"], ["token", "blocks.1.fc.bias"]),
    ],
)  # fmt: skip
def test_name_is_a_full_match_and_fills_the_tensor_itself(name, expected):
    model = vit()
    report = initialize(model, dict(type="Constant", val=3.5, bias=1, name=name))
    filled = {entry.name for entry in report.entries if entry.kind == "filled"}
    assert filled == set(expected)
    assert all(model.get_parameter(n).eq(3.5).all() for n in expected)


def test_layer_and_name_must_both_hold():
    model = vit()
    report = initialize(model, dict(type="Constant", val=3.5, layer="Attention", name="**.scale"))
    assert report.counts["filled"] == 2
    with pytest.warns(InitWarning, match="matches no parameter of Module in these layers"):
        initialize(model, dict(type="Constant", val=3.5, layer="Attention", name="**.fc.weight"))


def test_name_without_match_warns_with_the_nearest():
    with pytest.warns(
        InitWarning, match="name 'tokn' matches no parameter of Module. Did you mean 'token'"
    ):
        initialize(vit(), dict(type="Constant", val=1, name="tokn"))


@pytest.mark.parametrize("bad", ["a..b", "", "a**", ".a"])
def test_bad_patterns(bad):
    with pytest.raises(InitError, match="is no pattern"):
        initialize(vit(), dict(type="Constant", val=1, name=bad))


def test_rule_that_selects_nothing_warns():
    with pytest.warns(InitWarning, match="names no layer= and no name=, so it does nothing"):
        initialize(small(), constant())


# errors of type and value


@pytest.mark.parametrize(
    ("cfg", "error", "message"),
    [
        ("Kaiming", TypeError, "init_cfg of Sequential must be a dict or a list of dicts"),
        (3, TypeError, "must be a dict or a list of dicts"),
        ([3], TypeError, "a rule must be a dict"),
        (constant(layer=1), TypeError, "layer must be a str or class or a list of them, but got 1"),
        (dict(type="Normal", bias="1", layer="Linear"), TypeError, "bias must be a number, but got '1'"),
        (dict(type="Normal", bias_prob="1"), TypeError, "bias_prob must be a float"),
        (dict(type="Normal", bias_prob=1.5), ValueError, "bias_prob must lie between 0 and 1"),
        (dict(type="Normal", std=-1), ValueError, "std must be finite and at least 0"),
        (dict(type="Normal", std=math.nan), ValueError, "std must be finite"),
        (dict(type="Normal", std="x"), TypeError, "std must be a number"),
        (dict(type="Uniform", a=2, b=1), ValueError, "a must not be above b"),
        (dict(type="TruncNormal", units="sigmas"), ValueError, "units must be 'absolute' or 'sigma'"),
        (dict(type="Kaiming", mode="fan"), ValueError, "mode must be 'fan_in' or 'fan_out'"),
        (dict(type="Kaiming", nonlinearity="gelo"), ValueError, "nonlinearity must be"),
        (constant(override="conv"), TypeError, "override must be a dict or a list of dicts"),
        (constant(override=["conv"]), TypeError, "override must be a dict or a list of dicts"),
        (constant(override=dict(type="Normal")), ValueError, "override must contain the key 'name'"),
        (constant(override=dict(name="fc", val=1)), ValueError, "must contain the key 'type'"),
        (dict(layer="Linear"), KeyError, "must contain the key 'type'"),
        (dict(type="Kaimin"), KeyError, r"Did you mean 'Kaiming'\? It has: Caffe2Xavier, Constant, Kaiming"),
        (dict(type="Kaiming", mod="fan_in"), TypeError, r"unknown argument 'mod'\. Did you mean 'mode'\? It takes: a, mode"),
        (dict(type="Constant"), TypeError, "ConstantInit needs the argument 'val'"),
        (dict(type="Pretrained", checkpoint="x.pth", prefx="a"), TypeError, "It takes: checkpoint, prefix, map_location"),
    ],
)  # fmt: skip
def test_mistakes_name_the_rule_and_change_nothing(cfg, error, message):
    model = small()
    before = snapshot(model)
    rules = cfg if not isinstance(cfg, dict) else [constant(layer="Linear"), cfg]
    given = copy.deepcopy(rules)
    with pytest.raises(error, match=message) as raised:
        initialize(model, rules)
    assert isinstance(raised.value, InitError)
    if isinstance(cfg, dict):
        assert str(raised.value).startswith("init_cfg of Sequential, rule 2")
    assert unchanged(model, before) and rules == given


@pytest.mark.parametrize(
    "kind", [np.float32, np.float64, np.int64, np.array, torch.tensor, Fraction]
)
def test_numbers_of_other_libraries_are_taken_as_pythons_own(kind, tmp_path):
    numbers = dict(Constant=["val"], Xavier=["gain"], Normal=["mean", "std"], Kaiming=["a"])
    numbers |= dict(TruncNormal=["mean", "std", "a", "b"], Uniform=["a", "b"])
    numbers |= dict(VarianceScaling=["scale", "exponent"])
    for name, arguments in numbers.items():
        given = {argument: kind(1) for argument in arguments}
        rule = dict(type=name, layer="Linear", bias=kind(2), **given)
        plan = initium.plan(nn.Linear(3, 3), rule, seed=0)
        assert plan["bias"].write.initializer.val == 2
        same = initium.plan(nn.Linear(3, 3), {**rule, **dict.fromkeys(given, 1), "bias": 2}, seed=0)
        assert str(plan["weight"].write).replace(".0", "") == str(same["weight"].write)
        plan.save(tmp_path / "p.json")
        assert initium.Plan.load(tmp_path / "p.json") == plan
        init = initium.WEIGHT_INITIALIZERS.build(rule)
        assert all(type(getattr(init, argument)) in (int, float) for argument in arguments)


def test_a_probability_of_numpy():
    model = nn.Linear(2, 2)
    initialize(model, dict(type="Normal", layer="Linear", bias_prob=np.float32(0.25)))
    assert torch.sigmoid(model.bias).tolist() == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize(
    "bad",
    ["1", True, np.bool_(1), torch.tensor(True), np.ones(1), torch.ones(2), 1j, torch.ones((), device="meta")],
)  # fmt: skip
@pytest.mark.parametrize("argument", ["std", "bias"])
def test_what_is_no_number(bad, argument):
    with pytest.raises(TypeError, match=f"{argument} must be a number, but got "):
        initium.NormalInit(**{argument: bad})


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("Constant", "val", 10**400),
        ("Normal", "std", 10**400),
        ("Xavier", "gain", 1e200),
        ("Kaiming", "a", -1e200),
        ("VarianceScaling", "exponent", 2**70),
    ],
)
def test_numbers_beyond_what_a_formula_can_hold(name, argument, value):
    with pytest.raises(ValueError, match=f"{argument} must (be|lie)"):
        initialize(nn.Linear(2, 2), dict(type=name, layer="Linear", **{argument: value}))


@pytest.mark.parametrize(
    ("dtype", "val"), [(torch.int64, 2**70), (torch.int8, 300), (torch.float16, 1e10)]
)
def test_a_constant_that_a_tensor_cannot_hold_is_an_error_before_anything_is_written(dtype, val):
    model = nn.Linear(2, 2)
    model.last = nn.Parameter(torch.zeros(2, dtype=dtype), requires_grad=False)
    before = snapshot(model)
    with pytest.raises(InitError, match=f"last: a tensor of {dtype} cannot hold {val!r}"):
        initialize(model, [constant(layer="Linear"), dict(type="Constant", val=val, name="last")])
    assert unchanged(model, before)


def test_direct_construction_lists_known_arguments():
    with pytest.raises(TypeError, match="KaimingInit got an unknown argument 'mod'"):
        initium.KaimingInit(mod="fan_in")


@pytest.mark.parametrize("seed", [1.5, True, [1], None.__class__])
def test_bad_seeds(seed):
    with pytest.raises(TypeError, match="a seed must be an int, a str or a tuple"):
        initialize(small(), constant(layer="Linear"), seed=seed)


def test_tensors_that_cannot_be_drawn():
    model = nn.Linear(2, 2)
    model.counts = nn.Parameter(torch.zeros(3, dtype=torch.int32), requires_grad=False)
    model.twice = nn.Parameter(torch.zeros(1).expand(4))
    with pytest.raises(
        InitError, match=r"rule 1: counts: torch\.int32 cannot be drawn; a floating"
    ):
        initialize(model, dict(type="Normal", name="counts"))
    with pytest.raises(InitError, match="twice: several elements of this tensor share their memo"):
        initialize(model, dict(type="Normal", name="twice"))
    initialize(model, dict(type="Constant", val=4, name="counts"))
    assert model.counts.tolist() == [4, 4, 4]


def test_lazy_and_meta_tensors():
    with pytest.raises(InitError, match="lazy parameter has no shape yet"):
        initialize(nn.LazyLinear(2), constant(name="weight"))
    with pytest.raises(InitError, match="weight: this tensor is on the meta device"):
        initialize(nn.Linear(2, 2, device="meta"), constant(layer="Linear"))


# the registry


def test_registry_as_decorator_call_and_container():
    registry = initium.Registry("thing")

    @registry.register_module()
    class A:
        def __init__(self, x=0, **kwargs):
            self.x, self.kwargs = x, kwargs

    registry.register_module(name="B", module=A)
    registry.register_module(name=["C", "D"])(A)
    assert list(registry) == ["A", "B", "C", "D"] and len(registry) == 4 and "A" in registry
    assert registry.get("A") is A and registry.get("E") is None
    assert initium.build_from_cfg(dict(type="B", x=3), registry).x == 3
    assert registry.build(dict(type=A), default_args=dict(x=4)).x == 4
    with pytest.raises(KeyError, match="A is already registered in thing"):
        registry.register_module(name="A", module=dict)
    registry.register_module(name="A", force=True, module=dict)
    assert registry.get("A") is dict
    for bad in (dict(name=3), dict(force=1), dict(module=3)):
        with pytest.raises(TypeError):
            registry.register_module(**bad)
    with pytest.raises(TypeError, match="registry must be a Registry"):
        initium.build_from_cfg(dict(type="A"), {})
    with pytest.raises(TypeError, match="cfg must be a dict"):
        initium.build_from_cfg([], registry)


def test_a_users_own_initializer_works_at_once():
    @initium.WEIGHT_INITIALIZERS.register_module(force=True)
    class Twos:
        def __init__(self, only=None):
            self.only = only

        def __call__(self, module):
            for parameter in module.parameters():
                nn.init.constant_(parameter, 2)

    @initium.WEIGHT_INITIALIZERS.register_module(force=True)
    class MyInit(initium.BaseInit):
        def __call__(self, module):
            for m in module.modules():
                if self.wholemodule or type(m).__name__ in self.layer:
                    nn.init.constant_(m.bias, self.bias)

    model = small()
    report = initialize(
        model,
        [dict(type="Twos"), constant(layer="Linear"), dict(type="MyInit", layer="Conv2d", bias=5)],
    )
    assert (
        model.conv.weight.eq(2).all()
        and model.conv.bias.eq(5).all()
        and model.fc.weight.eq(1).all()
    )
    assert report["conv.weight"].info == "Initialized by Twos"
    assert report["fc.weight"].info == "ConstantInit: val=1, bias=2"


def test_an_initializer_may_be_applied_to_every_module():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Linear(1, 2))
    model.apply(initium.ConstantInit(val=3, layer=["Conv2d", "Linear"]))
    assert model[0].weight.item() == 3 and model[2].weight.eq(3).all()


def test_warnings_point_at_the_users_line():
    with pytest.warns(InitWarning) as shown:
        initialize(small(), constant())
    assert shown[0].filename == __file__


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float64]
)
@pytest.mark.parametrize("name", [n for n in INITS if n != "Pretrained"])
def test_every_dtype_can_be_filled(name, dtype):
    model = nn.Embedding(40, 30, padding_idx=1).to(dtype)
    cls, arguments, _ = INITS[name]
    initialize(model, cls(**dict(arguments, layer="Embedding")), seed=0)
    assert model.weight.float().isfinite().all()
    assert model.weight.float()[1].eq(0).all()
    assert model.weight.float()[0].ne(0).any()
