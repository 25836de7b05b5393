"""Pretrained: names and shapes, policies, several sources, and what the report says."""

import json
import re
import warnings
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import initium
import openmmlab
from checkpoints import bits, load, net, refused, same
from initium import BaseModule, InitError, InitWarning, Plan, initialize, plan, verify
from initium.checkpoint import Loading, Recipe
from initium.checkpoint.recipe import Files
from initium.finite import all_finite


def entries(path, **kw):
    return Files().opened(Recipe(str(path), **kw)).entries


def by(*dicts, rename=()):
    from initium.checkpoint import build_converters

    return build_converters(dicts, rename)


@pytest.fixture
def saved():
    return bits(net())


# ------------------------------------------------------------------ names


def test_renames_apply_in_order(saved, tmp_path):
    other = {k.replace("conv", "features.0").replace("fc", "head"): v for k, v in saved.items()}
    save_file(other, tmp_path / "x.safetensors")
    model = net()
    rename = [(r"^features\.(\d+)\.", r"stem\1."), ("^stem0", "conv"), ("^head", "fc")]
    initialize(model, load(tmp_path / "x.safetensors", rename=rename), strict=True)
    assert same(bits(model), saved)


def test_a_rename_that_does_nothing_is_told(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    with pytest.warns(InitWarning, match="Rename.*matches no key of the file"):
        initialize(net(), load(tmp_path / "x.safetensors", rename=[("^vit", "x")]))
    with pytest.raises(InitError, match="Rename"):
        initialize(net(), load(tmp_path / "x.safetensors", rename=[("^vit", "x")]), strict=True)


def test_two_tensors_under_one_name_are_an_error(tmp_path):
    save_file({"a.w": torch.ones(1), "b.w": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(InitError, match=r"the name w to both x\.safetensors: a\.w and .* b\.w"):
        entries(tmp_path / "x.safetensors", converters=by(rename=[("^[ab]\\.", "")]))


BAD_ARGUMENTS = {
    "rename must be a list of": dict(rename=["ab"]),
    "is no regular expression": dict(rename=[("(", "")]),
    "does not fit the pattern": dict(rename=[("a", r"\1")]),
    "convert must be a list of checkpoint converters": dict(convert=dict(type="Split")),
    "'Splitt' is not in the checkpoint converter registry. Did you mean 'Split'": dict(
        convert=[dict(type="Splitt")]
    ),
    "got an unknown argument 'axis'": dict(convert=[dict(type="Split", key="a", into=[], axis=1)]),
    "into must be a list of names, or contain {}": dict(
        convert=[dict(type="Split", key="a", into="b")]
    ),
    "2 names, but 1 sizes": dict(convert=[dict(type="Split", key="a", into=["b", "c"], sizes=[1])]),
    "dims must be different": dict(convert=[dict(type="Transpose", key="a", dims=[1, 1])]),
    "ignore must be a pattern": dict(ignore=3),
    "is no pattern": dict(ignore="a..b"),
    "min_coverage must lie between": dict(min_coverage=95),
    "min_coverage must be a number": dict(min_coverage="95%"),
    "strict must be a bool or None": dict(strict="yes"),
    "sha256 must be the 64 hexadecimal digits of a SHA-256, or at least": dict(sha256="123"),
    "trust_pickle must be a bool": dict(trust_pickle=1),
    "key must be a str": dict(key=3),
    "adapt must be a list of checkpoint adapters": dict(adapt="InputChannels"),
    "is not in the checkpoint adapter registry": dict(adapt=[dict(type="Channels", name="x")]),
}


@pytest.mark.parametrize("message", BAD_ARGUMENTS)
def test_bad_arguments_are_refused_before_the_file_is_looked_for(message):
    with pytest.raises(InitError, match=re.escape(message)):
        initialize(net(), load("nowhere.pth", **BAD_ARGUMENTS[message]))


# ------------------------------------------------------------------ parts


def qkv(n=4, bias=True):
    state = {f"b.{i}.qkv.weight": torch.randn(3 * n, n) for i in range(2)}
    if bias:
        state |= {f"b.{i}.qkv.bias": torch.randn(3 * n) for i in range(2)}
    return state


SPLIT = dict(type="Split", key=r"(.*)qkv\.(.*)", into=[rf"\1{x}.\2" for x in "qkv"])
MERGE = dict(type="Merge", keys=[rf"(.*){x}\.(weight|bias)" for x in "qkv"], into=r"\1qkv.\2")


def read(found):
    return {name: entry.read() for name, entry in found.items()}


@pytest.mark.parametrize("write", [save_file, torch.save])
def test_packed_weights_are_split_and_merged_again(write, tmp_path):
    state = qkv()
    write(state, tmp_path / "x.safetensors" if write is save_file else tmp_path / "x.pth")
    path = next(tmp_path.iterdir())
    parts = entries(path, converters=by(SPLIT))
    assert torch.equal(parts["b.1.k.weight"].read(), state["b.1.qkv.weight"][4:8])
    assert parts["b.1.k.weight"].text == f"{path.name}: b.1.qkv.weight[4:8]"
    assert parts["b.1.k.weight"].nbytes == 4 * 4 * 4
    whole = entries(path, converters=by(SPLIT, MERGE))
    assert same(read(whole), state)


def test_experts_are_stacked_in_the_order_of_their_numbers_and_taken_apart(tmp_path):
    state = {f"e.{i}.w": torch.full((2, 3), float(i)) for i in (10, 2, 0, 1, *range(3, 10))}
    save_file(state, tmp_path / "x.safetensors")
    stack = dict(type="Merge", keys=r"e\.\d+\.w", into="e.w")
    stacked = entries(tmp_path / "x.safetensors", converters=by(stack))
    assert stacked["e.w"].read()[:, 0, 0].tolist() == list(range(11))
    apart = dict(type="Split", key="e.w", into="e.{}.w")
    assert same(read(entries(tmp_path / "x.safetensors", converters=by(stack, apart))), state)


def test_transpose_for_conv1d(tmp_path):
    weight = torch.randn(3, 5)
    save_file({"w": weight}, tmp_path / "x.safetensors")
    turned = entries(tmp_path / "x.safetensors", converters=by(dict(type="Transpose", key="w")))
    assert turned["w"].shape == (5, 3)
    assert torch.equal(turned["w"].read(), weight.T)


@settings(deadline=None, max_examples=150)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    data=st.data(),
)
def test_any_chain_of_converters_equals_what_torch_makes(shape, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("chain") / "x.safetensors"
    tensor = torch.randn(shape)
    save_file({"x": tensor}, path)
    dims = data.draw(st.permutations(range(len(shape))))
    dim = data.draw(st.integers(0, len(shape) - 1))
    turned = tensor.permute(*dims) if len(dims) > 2 else tensor.T  # two dims change places
    n = turned.shape[dim]
    cut = data.draw(st.integers(0, n))
    chain = [
        dict(type="Transpose", key="x", dims=list(dims)),
        dict(type="Split", key="x", into=["a", "b"], dim=dim, sizes=[cut, n - cut]),
        dict(type="Split", key="b", into="b{}", dim=dim),
    ]
    found = read(entries(path, converters=by(*chain)))
    assert torch.equal(found.pop("a"), turned.narrow(dim, 0, cut))
    for i, slice in enumerate(turned.narrow(dim, cut, n - cut).unbind(dim)):
        assert torch.equal(found.pop(f"b{i}"), slice)
    assert not found
    joined = dict(type="Merge", keys=["a", "b"], into="x", dim=dim)
    back = read(entries(path, converters=by(*chain[:2], joined)))
    assert torch.equal(back["x"], turned)


def test_parts_that_do_not_fit_are_errors(tmp_path):
    save_file({"q": torch.ones(2, 2), "k": torch.ones(3, 3), "s": torch.ones(())}, tmp_path / "x")
    path = (tmp_path / "x").rename(tmp_path / "x.safetensors")
    for converter, message in [
        (dict(type="Merge", keys=["q", "k"], into="p"), r"cannot join .* q .* and .* k .* along"),
        (dict(type="Merge", keys=["q", "v"], into="p"), "p needs one tensor for each of"),
        (dict(type="Split", key="k", into=["a", "b"]), "cannot be cut into 2 parts"),
        (dict(type="Split", key="s", into=["a", "b"]), r"s has the shape \[\]"),
        (dict(type="Transpose", key="q", dims=[0, 2]), r"q has the shape \[2, 2\]"),
    ]:
        with pytest.raises(InitError, match=message):
            entries(path, converters=by(converter))


def test_tensors_of_other_dtypes_are_not_joined(tmp_path):
    save_file({"q": torch.ones(2, 2), "k": torch.ones(2, 2).half()}, tmp_path / "x.safetensors")
    with pytest.raises(InitError, match=r"cannot join .*float32.* and .*float16"):
        entries(
            tmp_path / "x.safetensors",
            converters=by(dict(type="Merge", keys=["q", "k"], into="p")),
        )


# ------------------------------------------------------------------ wrappers and layouts


@pytest.mark.parametrize(
    "wrap",
    [
        lambda k: f"module.{k}",
        lambda k: f"_orig_mod.{k}",
        lambda k: f"module._orig_mod.{k}",
        lambda k: f"_orig_mod.module.{k}",
        lambda k: k.replace("conv.", "conv._orig_mod."),
        lambda k: k.replace("norm.", "_fsdp_wrapped_module.norm._checkpoint_wrapped_module."),
    ],
)
def test_what_wrappers_put_into_names_is_taken_off(wrap, saved, tmp_path):
    save_file({wrap(k): v for k, v in saved.items()}, tmp_path / "x.safetensors")
    model = net()
    initialize(model, load(tmp_path / "x.safetensors"), strict=True)
    assert same(bits(model), saved)


def test_a_model_of_its_own_with_a_module_called_module(saved, tmp_path):
    model = nn.Sequential(OrderedDict(module=net()))
    save_file({f"module.{k}": v for k, v in saved.items()}, tmp_path / "x.safetensors")
    initialize(model, load(tmp_path / "x.safetensors"), strict=True)
    assert same(bits(model.module), saved)


def test_module_is_taken_off_beside_names_without_it_as_in_mmengine(saved, tmp_path):
    state = AveragedModel(net()).state_dict()  # module.conv.weight, …, n_averaged
    assert not all(key.startswith("module.") for key in state)
    torch.save(state, tmp_path / "x.pth")
    model, twin = net(), net()
    with pytest.warns(InitWarning, match="keys that the model does not have: n_averaged"):
        initialize(model, load(tmp_path / "x.pth"))
    openmmlab.theirs("mmengine.runner.checkpoint").load_checkpoint(twin, str(tmp_path / "x.pth"))
    assert same(bits(model), bits(twin))
    plan(net(), load(tmp_path / "x.pth", ignore_unused="n_averaged")).save(tmp_path / "p.json")
    again = net()
    initium.apply(Plan.load(tmp_path / "p.json"), again)
    assert same(bits(again), bits(model))


@pytest.mark.filterwarnings("ignore:init_cfg of Module, rule 1")  # of what is missing, or unused
@pytest.mark.parametrize(
    "names",
    [
        ["conv.weight", "module.conv.weight"],  # two keys would be one
        ["module.conv.weight"],  # which is a name of the model itself
    ],
)
def test_module_stays_where_it_tells_two_tensors_apart(names, tmp_path):
    values = {name: torch.full((4, 3, 3, 3), float(i)) for i, name in enumerate(names, 1)}
    save_file({**values, "other": torch.ones(1)}, tmp_path / "x.safetensors")
    model = nn.Module()
    model.conv = nn.Conv2d(3, 4, 3, bias=False)
    if len(names) == 1:
        model.module = nn.Module()
        model.module.conv = nn.Conv2d(3, 4, 3, bias=False)
    before = bits(model)
    initialize(model, load(tmp_path / "x.safetensors"))
    expected = {name: values.get(name, before[name]) for name in before}
    assert same(bits(model), expected)


def test_module_may_be_the_prefix_that_is_asked_for(saved, tmp_path):
    save_file({f"module.{k}": v for k, v in saved.items()}, tmp_path / "x.safetensors")
    model = net()
    initialize(model, load(tmp_path / "x.safetensors", prefix="module"), strict=True)
    assert same(bits(model), saved)


def test_two_state_dicts_of_one_file_in_one_plan(saved, tmp_path):
    torch.save({"a": saved, "b": {k: v + 1 for k, v in saved.items()}}, tmp_path / "x.pt")
    model = nn.Sequential(OrderedDict(one=net(), two=net()))
    rules = [load(tmp_path / "x.pt", key=k, to=to) for k, to in (("a", "one"), ("b", "two"))]
    initialize(model, rules, strict=True)
    assert torch.equal(model.one.fc.weight + 1, model.two.fc.weight)


@pytest.mark.parametrize("key", ["state_dict", "model", "module", "model_state_dict"])
def test_layouts_of_training_loops(key, saved, tmp_path):
    junk = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    torch.save({**junk, key: saved, "ema": {k: v + 1 for k, v in saved.items()}}, tmp_path / "x.pt")
    model = net()
    initialize(model, load(tmp_path / "x.pt"), strict=True)
    assert same(bits(model), saved)
    initialize(model, load(tmp_path / "x.pt", key="ema"), strict=True)
    assert torch.equal(model.fc.weight, saved["fc.weight"] + 1)


def test_a_key_that_is_not_there_or_needed(saved, tmp_path):
    torch.save({"encoder": saved, "decoder": saved}, tmp_path / "x.pt")
    with pytest.raises(InitError, match="several state dicts; say key= one of: encoder, decoder"):
        initialize(net(), load(tmp_path / "x.pt"))
    with pytest.raises(InitError, match=r"no state dict at key='encodr'\. Did you mean 'encoder'"):
        initialize(net(), load(tmp_path / "x.pt", key="encodr"))
    torch.save({"a": {"b.c": saved}}, tmp_path / "x.pt")
    model = net()
    initialize(model, load(tmp_path / "x.pt", key="a.b.c"), strict=True)
    assert same(bits(model), saved)


# ------------------------------------------------------------------ policy and report


def test_nothing_that_matches_is_an_error_with_the_prefix_that_would(saved, tmp_path):
    save_file({f"backbone.{k}": v for k, v in saved.items()}, tmp_path / "x.safetensors")
    model = net()
    with refused(model, match=r"With prefix='backbone' 9 of 9 names would match"):
        initialize(model, load(tmp_path / "x.safetensors"))
    save_file(saved, tmp_path / "y.safetensors")
    whole = nn.Sequential(OrderedDict(body=net()))
    with pytest.raises(InitError, match=r"With to='body' 9 of 9 names would match"):
        initialize(whole, load(tmp_path / "y.safetensors"))


def test_missing_and_unused_that_are_expected(saved, tmp_path):
    state = {k: v for k, v in saved.items() if not k.startswith("fc")} | {"old.w": torch.ones(1)}
    save_file(state, tmp_path / "x.safetensors")
    rule = load(tmp_path / "x.safetensors", ignore="fc.*", ignore_unused=["old.**.*"])
    fresh = dict(type="Constant", layer="Linear", val=7)
    report = initialize(net(), [fresh, rule], strict=True)
    assert report.loadings[0].fresh == ("fc.weight", "fc.bias")
    with pytest.raises(InitError, match=r"not in the file: fc\.weight, fc\.bias"):
        initialize(net(), [fresh, load(tmp_path / "x.safetensors")], strict=True)


def test_strict_and_lenient_rules(saved, tmp_path):
    save_file(dict(saved, extra=torch.ones(1)), tmp_path / "x.safetensors")
    with pytest.raises(InitError, match="strict; nothing was written: keys that the model does"):
        initialize(net(), load(tmp_path / "x.safetensors", strict=True))
    with pytest.warns(InitWarning, match="extra"):
        initialize(net(), load(tmp_path / "x.safetensors", strict=False), strict=True)


def test_min_coverage_counts_elements_of_parameters(saved, tmp_path):
    state = {k: v for k, v in saved.items() if k != "fc.weight"}
    save_file(state, tmp_path / "x.safetensors")
    total = sum(p.numel() for p in net().parameters())
    part = (total - 8) / total
    model = net()
    with refused(model, match=rf"loads {part:.2%} of {total} parameters, but min_cov"):
        initialize(model, load(tmp_path / "x.safetensors", min_coverage=part + 1e-6))
    with pytest.warns(InitWarning):
        report = initialize(model, load(tmp_path / "x.safetensors", min_coverage=part))
    assert report.loadings[0].coverage == part


def test_plan_and_report_say_what_is_loaded_adapted_fresh_and_unused(saved, tmp_path):
    state = {k: v for k, v in saved.items() if k != "fc.bias"} | {"extra": torch.ones(1)}
    state["conv.weight"] = torch.randn(4, 5, 3, 3)
    path = tmp_path / "x.safetensors"
    save_file(state, path)
    adapt = [dict(type="InputChannels", name="conv.weight", how="repeat")]
    rules = [dict(type="Constant", layer="Linear", val=3, bias=4), load(path, adapt=adapt)]
    model = net()
    made = plan(model, rules)
    assert made["conv.weight"].what == (
        "Pretrained(x.safetensors: conv.weight | InputChannels(how='repeat'))"
    )
    total = sum(p.numel() for p in model.parameters())
    text = (
        f"{path} (init_cfg of Sequential, rule 2): 8 of 9 tensors loaded, "
        f"{(total - 2) / total:.2%} of {total} parameters; 1 of them adapted: conv.weight "
        "(InputChannels(how='repeat')); 1 fresh: fc.bias (Constant(val=4)); 1 keys unused: extra"
    )
    flat = re.sub(r"\s+", " ", str(made))
    assert text.partition(": ")[2] in flat
    path_of_plan = tmp_path / "plan.json"
    made.save(path_of_plan)
    again = Plan.load(path_of_plan)
    assert again == made
    with pytest.warns(InitWarning):
        report = initialize(model, rules)
    assert "1 fresh: fc.bias (ConstantInit: val=3, bias=4)" in re.sub(r"\s+", " ", str(report))
    assert report.to_dict()["loadings"][0]["unused"] == ("extra",)
    json.dumps(report.to_dict())
    twin = net()
    initium.apply(again, twin)
    assert torch.equal(twin.conv.weight, model.conv.weight)
    assert verify(model) == len(report.entries)


def test_a_complete_load_is_told_too(saved, tmp_path, caplog):
    save_file(saved, tmp_path / "x.safetensors")
    total = sum(p.numel() for p in net().parameters())
    initialize(net(), load(tmp_path / "x.safetensors"))
    line = caplog.records[-1].getMessage()
    assert line.endswith(f"9 of 9 tensors loaded, 100% of {total} parameters")


def test_all_is_said_only_of_all():
    almost = Loading("rule", "x.pth", loaded=2, elements=999_999, total=1_000_000, fresh=("a",))
    assert "2 of 3 tensors loaded, 99.99% of 1,000,000 parameters; 1 fresh: a (Kaiming)" in (
        almost.describe(lambda _: "Kaiming")
    )


def test_old_files_without_the_counter_of_batch_norm_are_complete(saved, tmp_path):
    del saved["norm.num_batches_tracked"]
    save_file(saved, tmp_path / "x.safetensors")
    initialize(net(), load(tmp_path / "x.safetensors"), strict=True)


def test_modules_that_rename_while_torch_loads_are_named(tmp_path):
    class Old(nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *args):
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}w")
            super()._load_from_state_dict(state_dict, prefix, *args)

    save_file({"0.w": torch.ones(2, 2), "0.bias": torch.ones(2)}, tmp_path / "x.safetensors")
    model = nn.Sequential(Old(2, 2))
    with pytest.warns(InitWarning) as shown:
        initialize(model, load(tmp_path / "x.safetensors"))
    assert "Old would change names or tensors as torch loads them" in str(shown[0].message)
    rename = [("w$", "weight")]
    initialize(model, load(tmp_path / "x.safetensors", rename=rename), strict=True)


# ------------------------------------------------------------------ shapes and dtypes


def test_a_mismatch_keeps_its_own_rule_and_adapters_are_explicit(saved, tmp_path):
    state = dict(saved)
    state["fc.weight"] = torch.randn(6, 4)
    state["fc.bias"] = torch.randn(6)
    save_file(state, tmp_path / "x.safetensors")
    rule = dict(type="Constant", layer="Linear", val=3)
    model = net()
    with pytest.warns(InitWarning, match=r"fc\.weight has the shape \[2, 4\], x\.safetensors: fc"):
        initialize(model, [rule, load(tmp_path / "x.safetensors")])
    assert model.fc.weight.eq(3).all()
    rows = dict(type="ClassHead", name="fc.*", rows=[5, 0])
    initialize(model, [rule, load(tmp_path / "x.safetensors", adapt=[rows])], strict=True)
    assert torch.equal(model.fc.weight, state["fc.weight"][[5, 0]])
    assert torch.equal(model.fc.bias, state["fc.bias"][[5, 0]])
    drop = dict(type="ClassHead", name="fc.*")
    other = net()
    report = initialize(other, [rule, load(tmp_path / "x.safetensors", adapt=[drop])], strict=True)
    assert other.fc.weight.eq(3).all()
    assert report["fc.weight"].kind == "filled"


def test_adapters_that_do_not_reach_the_shape_or_cannot_compute(saved, tmp_path):
    adapt = [dict(type="InputChannels", name="conv.weight", how="mean")]
    model = net()
    before = bits(model)
    save_file(dict(saved, **{"conv.weight": torch.ones(4, 5, 2, 2)}), tmp_path / "x.safetensors")
    with pytest.raises(InitError, match=r"makes \[4, 3, 2, 2\] of \[4, 5, 2, 2\], but the tensor"):
        initialize(model, load(tmp_path / "x.safetensors", adapt=adapt))
    integers = torch.ones(4, 5, 3, 3, dtype=torch.int8)
    save_file(dict(saved, **{"conv.weight": integers}), tmp_path / "y.safetensors")
    with pytest.raises(InitError, match="it computes with real floating-point numbers"):
        plan(model, load(tmp_path / "y.safetensors", adapt=adapt))
    assert same(bits(model), before)


def test_rows_are_picked_even_where_shapes_are_equal(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    model = net()
    rows = dict(type="ClassHead", name="fc.*", rows=[1, 0])
    initialize(model, load(tmp_path / "x.safetensors", adapt=[rows]), strict=True)
    assert torch.equal(model.fc.weight, saved["fc.weight"].flip(0))


def test_an_adapter_that_fails_or_has_nothing_to_do(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    idle = dict(type="InputChannels", name="conv.weight", how="mean")
    with pytest.warns(InitWarning, match="had nothing to do"):
        initialize(net(), load(tmp_path / "x.safetensors", adapt=[idle]))
    model = net()
    before = bits(model)
    wrong = dict(type="ClassHead", name="fc.*", rows=[1, 9])
    with pytest.raises(
        InitError, match=r"fc\.weight: x\.safetensors: fc\.weight: ClassHead.* no row 9"
    ):
        initialize(model, load(tmp_path / "x.safetensors", adapt=[wrong]))
    assert same(bits(model), before)


def test_new_rows_of_a_vocabulary_depend_on_seed_and_name_alone(tmp_path):
    torch.manual_seed(0)
    save_file({"weight": torch.randn(50, 8)}, tmp_path / "x.safetensors")
    rule = load(tmp_path / "x.safetensors", adapt=[dict(type="Vocabulary", name="weight")])
    models = [nn.Embedding(60, 8) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        initialize(model, rule, seed=seed)
    a, b, c = (model.weight for model in models)
    assert torch.equal(a, b)
    assert torch.equal(a[:50], c[:50])
    assert not torch.equal(a[50:], c[50:])
    assert verify(models[0]) == 1
    longer = nn.Embedding(55, 8)
    initialize(longer, rule, seed=1)
    assert torch.equal(longer.weight, a[:55])


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.int64, torch.bool])
def test_other_kinds_of_numbers_are_not_cast_in_silence(dtype, tmp_path):
    save_file({"weight": torch.ones(2, 2).to(dtype), "bias": torch.ones(2)}, tmp_path / "x")
    path = (tmp_path / "x").rename(tmp_path / "x.safetensors")
    with pytest.raises(InitError, match=f"weight has the dtype torch.float32, .* {dtype}"):
        initialize(nn.Linear(2, 2), load(path), strict=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_precisions_are_cast(dtype, tmp_path):
    save_file({"weight": torch.randn(2, 3).to(dtype)}, tmp_path / "x.safetensors")
    model = nn.Linear(3, 2, bias=False)
    initialize(model, load(tmp_path / "x.safetensors"), strict=True)
    assert torch.equal(model.weight, load_file(tmp_path / "x.safetensors")["weight"].float())


def test_quantised_and_sparse_tensors_are_told(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    torch.save({"weight": quantised, "bias": torch.ones(2)}, tmp_path / "x.pth")
    with pytest.raises(
        InitError, match=r"weight cannot be loaded from x\.pth: weight: .*quantised"
    ):
        initialize(nn.Linear(2, 2), load(tmp_path / "x.pth"), strict=True)


def test_lazy_modules_are_told(tmp_path):
    save_file({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, tmp_path / "x.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.LazyLinear(2)
    with pytest.raises(InitError, match="weight has no shape yet"):
        initialize(model, load(tmp_path / "x.safetensors"), strict=True)


def test_scalars_and_empty_tensors(tmp_path):
    model = nn.Module()
    model.a, model.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(0, 3))
    save_file({"a": torch.tensor(2.5), "b": torch.zeros(0, 3)}, tmp_path / "x.safetensors")
    initialize(model, load(tmp_path / "x.safetensors"), strict=True)
    assert model.a.item() == 2.5


def test_nan_in_a_checkpoint_is_a_warning(saved, tmp_path):
    saved["fc.weight"][1, 2] = float("nan")
    saved["conv.bias"][0] = float("inf")
    save_file(saved, tmp_path / "x.safetensors")
    model = net()
    with pytest.warns(InitWarning) as shown:
        initialize(model, load(tmp_path / "x.safetensors"))
    texts = [str(w.message) for w in shown]
    assert [t.partition(":")[0] for t in texts] == ["conv.bias", "fc.weight"]
    assert torch.isnan(model.fc.weight[1, 2])
    assert verify(model) == 9


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.complex64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_among_many_that_is_not_finite(dtype, value):
    values = (torch.rand(70_000) - 0.5).to(dtype)
    assert all_finite(values)
    assert all_finite(values[::2])
    values[69_998] = value
    assert not all_finite(values)
    assert not all_finite(values[::2])
    assert all_finite(torch.empty(0, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_values_are_finite(dtype):
    assert all_finite(torch.full((9,), torch.finfo(dtype).max, dtype=torch.float64).to(dtype))


def test_large_finite_values_are_no_nan(tmp_path):
    save_file({"weight": torch.full((400, 400), 3e38)}, tmp_path / "x.safetensors")
    initialize(nn.Linear(400, 400, bias=False), load(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("both", [False, True])
def test_tied_tensors_saved_once_or_twice(both, tmp_path):
    model = nn.Module()
    model.a, model.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    model.b.weight = model.a.weight
    state = {"b.weight": torch.ones(2, 2)}
    torch.save(state | ({"a.weight": torch.ones(2, 2)} if both else {}), tmp_path / "x.pth")
    initialize(model, load(tmp_path / "x.pth"), strict=True)
    assert model.a.weight is model.b.weight
    assert model.a.weight.eq(1).all()


def test_other_strides_and_the_transposed_parameter(tmp_path):
    torch.manual_seed(0)
    weight = torch.randn(6, 4)
    torch.save({"weight": weight.T.contiguous().T, "bias": torch.randn(12)[::2]}, tmp_path / "x.pt")
    save_file({"weight": weight, "bias": torch.ones(6)}, tmp_path / "x.safetensors")
    for name in ("x.pt", "x.safetensors"):
        turned, plain = nn.Linear(4, 6), nn.Linear(4, 6)
        turned.weight.data = torch.empty(4, 6).T
        initialize(turned, load(tmp_path / name), strict=True)
        initialize(plain, load(tmp_path / name), strict=True)
        assert torch.equal(turned.weight, weight)
        assert torch.equal(plain.weight, weight)
        assert turned.weight.stride() == (1, 6)


# ------------------------------------------------------------------ several sources


def test_a_later_full_checkpoint_makes_an_earlier_one_unnecessary(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    model = net()
    missing = load("https://127.0.0.1:9/never-asked-for.pth")
    report = initialize(model, [missing, load(tmp_path / "x.safetensors")], strict=True)
    assert same(bits(model), saved)
    first, second = report.loadings
    assert first.superseded == "init_cfg of Sequential, rule 2"
    assert second.loaded == 9
    assert "is not needed, and was not opened" in str(report)


def test_nothing_is_opened_for_what_a_last_file_covers(saved, tmp_path):
    older = {k: v for k, v in saved.items() if k != "norm.num_batches_tracked"}
    save_file(older, tmp_path / "x.safetensors")
    rules = [load("gone.pth"), load("gone too.pth"), load(tmp_path / "x.safetensors")]
    report = initialize(net(), rules, strict=True)
    assert [bool(loading.superseded) for loading in report.loadings] == [True, True, False]


def test_nothing_is_opened_for_tensors_that_it_does_not_have(saved, tmp_path):
    for part in ("conv", "fc"):
        state = {k.partition(".")[2]: v for k, v in saved.items() if k.startswith(part)}
        save_file(state, tmp_path / f"{part}.safetensors")
    rules = [
        load(tmp_path / "fc.safetensors", to="fc"),
        load("gone.pth", to="conv"),
        load(tmp_path / "conv.safetensors", to="conv"),
    ]
    report = initialize(net(), rules)
    assert [bool(loading.superseded) for loading in report.loadings] == [False, True, False]


def test_two_later_ones_together_make_it_unnecessary(saved, tmp_path):
    for part in ("conv", "norm", "fc"):
        state = {k.partition(".")[2]: v for k, v in saved.items() if k.startswith(part)}
        save_file(state, tmp_path / f"{part}.safetensors")
    parts = [load(tmp_path / f"{p}.safetensors", to=p) for p in ("conv", "norm", "fc")]
    model = net()
    report = initialize(model, [load("gone.pth"), *parts], strict=True)
    assert same(bits(model), saved)
    assert report.loadings[0].superseded.count(" and ") == 2


def test_a_later_partial_checkpoint_wins_where_it_has_something(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    save_file({"fc.weight": torch.full((2, 4), 9.0)}, tmp_path / "y.safetensors")
    model = net()
    rules = [load(tmp_path / "x.safetensors"), load(tmp_path / "y.safetensors", strict=False)]
    with pytest.warns(InitWarning):
        initialize(model, rules)
    assert model.fc.weight.eq(9).all()
    assert torch.equal(model.conv.weight, saved["conv.weight"])


def test_the_checkpoint_of_a_parent_makes_that_of_its_child_unnecessary(saved, tmp_path):
    save_file({f"body.{k}": v for k, v in saved.items()}, tmp_path / "x.safetensors")

    class Body(BaseModule):
        def __init__(self):
            super().__init__([load("https://127.0.0.1:9/imagenet.pth"), load("gone.pth")])
            self.conv, self.norm, self.fc = net()

    class Whole(BaseModule):
        def __init__(self):
            super().__init__(load(tmp_path / "x.safetensors"))
            self.body = Body()

    model = Whole()
    report = model.init_weights()
    assert same(bits(model.body), saved)
    assert [bool(loading.superseded) for loading in report.loadings] == [True, True, False]


def test_loaded_tensors_are_protected_and_buffers_are_loaded(saved, tmp_path):
    saved["norm.running_mean"] += 5
    save_file(saved, tmp_path / "x.safetensors")
    model = net()
    initialize(model, load(tmp_path / "x.safetensors"))
    assert model.norm.running_mean.eq(5).all()
    with pytest.raises(InitError, match=r"fc\.weight: .* is protected \(loaded by"):
        initialize(model, dict(type="Normal", layer="Linear"))
    model.fc.weight.data[0, 0] += 1
    with pytest.raises(InitError, match=r"fc\.weight: it has changed since it was loaded by"):
        verify(model)
    (tmp_path / "x.safetensors").unlink()
    with pytest.raises(InitError, match="cannot be compared with what was loaded: there is no"):
        verify(model)


def test_what_an_earlier_plan_has_loaded_is_verified_with_a_later_one(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    model = nn.Sequential(OrderedDict(body=net(), head=nn.Linear(2, 2)))
    initialize(model, load(tmp_path / "x.safetensors", to="body"))
    initialize(model, dict(type="Constant", name="head.*", val=1))
    assert verify(model) == 11
    body = model.body
    for name, tensor in (
        ("norm.weight", body.norm.weight),
        ("norm.running_var", body.norm.running_var),
    ):
        tensor.data += 1
        with pytest.raises(
            InitError, match=rf"1 of 11 .*body\.{name}: it has changed since it was"
        ):
            verify(model)
        tensor.data -= 1


def test_what_is_not_protected_any_more_is_still_verified_against_the_plan(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    model = net()
    initialize(model, load(tmp_path / "x.safetensors"))
    initium.unprotect(model)
    assert verify(model) == 9
    model.fc.bias.data[0] += 1
    with pytest.raises(InitError, match=r"1 of 9 .*fc\.bias: it has changed since it was loaded"):
        verify(model)


def test_what_is_protected_by_hand_is_not_loaded_over(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    model = net()
    initium.protect(model, "fc.weight")
    before = bits(model)
    with pytest.raises(
        InitError, match=r"fc\.weight: it is protected \(protect\(\), as fc\.weight"
    ):
        initialize(model, load(tmp_path / "x.safetensors"))
    assert same(bits(model), before)


def test_a_plan_file_is_carried_out_on_what_the_file_holds_then(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    made = plan(net(), load(tmp_path / "x.safetensors", rename=[("^zz", "")], strict=False))
    made.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    model = net()
    initium.apply(again, model)
    assert same(bits(model), saved)
    save_file({k: v for k, v in saved.items() if k != "fc.bias"}, tmp_path / "x.safetensors")
    other = net()
    before = bits(other)
    with pytest.raises(InitError, match=r"fc\.bias: .*the checkpoint has no tensor 'fc\.bias'"):
        initium.apply(again, other)
    save_file(dict(saved, **{"fc.bias": torch.ones(3)}), tmp_path / "x.safetensors")
    with pytest.raises(InitError, match=r"fc\.bias has the shape \[2\], .* has \[3\]"):
        initium.apply(again, other)
    assert same(bits(other), before)


def test_meta_models_are_loaded_by_materialize(saved, tmp_path):
    save_file(saved, tmp_path / "x.safetensors")
    model = initium.build(net, init_cfg=load(tmp_path / "x.safetensors"), device="meta", seed=0)
    initium.materialize(model)
    assert same(bits(model), saved)
