"""Plans of parts: a stage of a pipeline gets the values that the whole model would have there."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import initium
from families import FAMILIES
from initium import InitError, Plan
from initium.errors import InitKeyError, InitTypeError

HEAD = ["model.norm", "model.rotary_emb", "lm_head"]
CUTS = {
    2: [["model.embed_tokens", "model.rotary_emb", "model.layers.0"], ["model.layers.1", *HEAD]],
    3: [["model.embed_tokens"], ["model.layers.0", "model.rotary_emb"], ["model.layers.1", *HEAD]],
}


def tensors(model):
    """Every tensor by every name that it has."""
    named = (
        model.named_parameters(remove_duplicate=False),
        model.named_buffers(remove_duplicate=False),
    )
    return {name: tensor for each in named for name, tensor in each}


def on_meta(make):
    with torch.device("meta"):
        return make()


def part(model, modules):
    """Some modules of a model in a module of their own: where in the whole -> where in the part."""
    root = nn.Module()
    for old, new in modules.items():
        *parents, leaf = new.split(".")
        at = root
        for name in parents:
            if name not in at._modules:
                at.add_module(name, nn.Module())
            at = at.get_submodule(name)
        at.add_module(leaf, model.get_submodule(old))
    return root


def check(plan, stage, whole, names):
    """Materialize a stage, and compare it with the whole; `names`: in the stage -> in the whole."""
    initium.materialize(stage, plan=plan)
    found = tensors(stage)
    assert found
    for name, tensor in found.items():
        assert not tensor.is_meta
        assert torch.equal(tensor, whole[names(name)]), name


def renamed(modules):
    """New names: those of layers are counted from 0, the others are short."""
    layers = [name for name in modules if ".layers." in name]
    new = {name: name.rpartition(".")[2] for name in modules}
    return new | {name: f"blocks.{i}" for i, name in enumerate(layers)}


def back(prefixes):
    def old(name):
        new = max((p for p in prefixes.values() if name.startswith(f"{p}.")), key=len)
        return next(k for k, v in prefixes.items() if v == new) + name[len(new) :]

    return old


def by_prefix(plan, make, modules, whole):
    for prefix in modules:
        stage = on_meta(make).get_submodule(prefix)
        check(plan.select(prefix), stage, whole, lambda name: f"{prefix}.{name}")  # noqa: B023


def by_mapping(plan, make, modules, whole):
    prefixes = renamed(modules)
    check(plan.select(prefixes), part(on_meta(make), prefixes), whole, back(prefixes))


def by_module(plan, make, modules, whole):
    stage = part(on_meta(make), {name: name for name in modules})
    check(plan.select(stage), stage, whole, lambda name: name)


WAYS = [by_prefix, by_mapping, by_module]


def loaded(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    return Plan.load(tmp_path / "plan.json")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stages", CUTS)
@pytest.mark.parametrize("sort", ["plain", "crafted"])
@pytest.mark.parametrize("family", ["llama", "tied llama"])
def test_stages_have_the_values_of_the_whole(family, sort, stages, way, tmp_path):
    family = FAMILIES[family]
    rules = family.rules if sort == "crafted" else None
    make = getattr(family, sort)
    model = initium.build(make, seed=3, init_cfg=rules)
    whole, plan = tensors(model), initium.plan_of(model)
    for modules in CUTS[stages]:
        way(plan, family.plain, modules, whole)
        way(loaded(plan, tmp_path), family.plain, modules, whole)


@pytest.mark.parametrize("way", WAYS)
def test_a_selected_plan_is_a_file_too(way, tmp_path):
    family = FAMILIES["tied llama"]
    model = initium.build(family.crafted, seed=3)

    class Saved:
        def select(self, names):
            return loaded(initium.plan_of(model).select(names), tmp_path)

    for modules in CUTS[3]:
        way(Saved(), family.plain, modules, tensors(model))


def net():
    return nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)))


def built(make=net, **kw):
    model = initium.build(make, seed=3, **kw)
    return model, initium.plan_of(model)


def test_what_is_drawn_names_its_stream_and_what_is_not_does_not():
    plan = built()[1]
    selected = plan.select("1")
    assert [line.name for line in selected] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert selected["0.weight"].what.endswith(" as 1.0.weight")
    assert selected["1.weight"].write.stream is None  # ones
    assert selected.model == "a part of Sequential" == selected.select("0").model
    assert selected.seed == plan.seed
    assert plan.select("").lines == plan.lines


def test_a_part_of_a_part_and_back_again():
    plan = built()[1]
    assert plan.select("1").select("0").lines == plan.select("1.0").lines
    again = plan.select("1").select({"": "1"})
    assert again.lines == {name: plan.lines[name] for name in again.lines}
    assert len(again) == 4


def test_the_longest_prefix_counts_and_a_tensor_may_be_named_itself():
    plan = built()[1]
    selected = plan.select({"1": "body", "1.0": "first", "0.weight": "w"})
    assert list(selected.lines) == [
        "w",
        "first.weight",
        "first.bias",
        "body.1.weight",
        "body.1.bias",
    ]
    assert list(plan.select({"1.": "x.", "0": ""}).lines)[:3] == ["weight", "bias", "x.0.weight"]
    assert "10.weight" not in plan.select("1").lines


def test_a_prefix_ends_at_a_dot():
    plan = built(lambda: nn.Sequential(*(nn.Linear(2, 2) for _ in range(12))))[1]
    assert list(plan.select("1").lines) == ["weight", "bias"]
    assert plan.select("1")["weight"].write.stream == "1.weight"


class Tied(nn.Module):
    def __init__(self, tied=True):
        super().__init__()
        self.first, self.last = nn.Embedding(5, 4, padding_idx=1), nn.Linear(4, 5, bias=False)
        if tied:
            self.last.weight = self.first.weight


def test_a_tied_tensor_is_part_of_each_place_where_it_is():
    model, plan = built(Tied)
    assert plan.lines.keys() == {"first.weight"}
    for prefix in ("first", "last"):
        selected = plan.select(prefix)
        assert list(selected.lines) == ["weight"]
        assert selected["weight"].aliases == ()
        stage = on_meta(Tied).get_submodule(prefix)
        initium.materialize(stage, plan=selected)
        assert torch.equal(stage.weight, model.first.weight)
    both = plan.select({"last": "head", "first": "words"})
    assert list(both.lines) == ["words.weight"]
    assert both["words.weight"].aliases == ("head.weight",)


def test_a_part_where_it_is_not_tied_gets_it_twice():
    model, plan = built(Tied)
    stage = on_meta(lambda: Tied(tied=False))
    initium.materialize(stage, plan=plan.select(stage))
    assert stage.first.weight is not stage.last.weight
    assert torch.equal(stage.first.weight, model.first.weight)
    assert torch.equal(stage.last.weight, model.first.weight)


def test_a_part_that_ties_what_the_whole_does_not_is_refused():
    plan = built(lambda: Tied(tied=False))[1]
    text = "first.weight and last.weight are one tensor in the part, but several in the plan"
    with pytest.raises(InitError, match=text):
        plan.select(on_meta(Tied))


def test_wrappers_are_seen_through():
    model, plan = built()
    wrapped = torch.compile(on_meta(net))
    selected = plan.select(wrapped)
    assert "_orig_mod.0.weight" in selected.lines
    initium.materialize(wrapped, plan=selected)
    assert torch.equal(wrapped._orig_mod[0].weight, model[0].weight)
    of_wrapped = initium.plan(wrapped, dict(type="Normal", layer="Linear"), seed=3)
    expected = initium.plan(model, dict(type="Normal", layer="Linear"), seed=3)
    for prefix in ("1", "_orig_mod.1"):
        found, same = of_wrapped.select(prefix), expected.select("1")
        assert [(x.path, str(x)) for x in found] == [(x.path, str(x)) for x in same]


def test_loaded_tensors_keep_their_recipe(tmp_path):
    torch.save(net().state_dict(), tmp_path / "x.pth")
    load = dict(type="Pretrained", checkpoint=str(tmp_path / "x.pth"))
    model, plan = built(init_cfg=[dict(type="Constant", layer="Linear", val=7), load])
    stage = on_meta(net)[1]
    initium.materialize(stage, plan=loaded(plan, tmp_path).select("1"))
    for name, tensor in tensors(stage).items():
        assert torch.equal(tensor, tensors(model)[f"1.{name}"])
    assert not stage[0].weight.eq(7).any()


def test_an_adapter_that_draws_goes_on_drawing_the_same(tmp_path):
    torch.save({**net().state_dict(), "1.0.weight": torch.randn(2, 3)}, tmp_path / "x.pth")
    rows = dict(type="Vocabulary", name="1.0.weight")
    load = dict(type="Pretrained", checkpoint=str(tmp_path / "x.pth"), adapt=[rows])
    model, plan = built(init_cfg=load)
    assert any(getattr(write, "random", False) for write in plan["1.0.weight"].carried_out)
    for found in (plan, loaded(plan, tmp_path)):
        stage = on_meta(net)[1]
        initium.materialize(stage, plan=loaded(found.select("1"), tmp_path))
        assert torch.equal(stage[0].weight, model[1][0].weight)


def test_nothing_selected_is_an_error():
    plan = built(lambda: FAMILIES["llama"].plain())[1]
    with pytest.raises(InitKeyError, match=r"starts with 'model.layer.1'.* mean 'model.layers.1'"):
        plan.select("model.layer.1")
    with pytest.raises(InitKeyError, match=r"starts with 'lm_haed'.*Did you mean 'lm_head'"):
        plan.select({"model": "model", "lm_haed": "head"})
    with pytest.raises(InitKeyError, match=r"no tensor of the Linear .* plan, as 'weight'"):
        plan.select(nn.Linear(2, 2))
    with pytest.raises(InitKeyError, match=r"plan: it has none"):
        plan.select(nn.ReLU())


def test_two_tensors_of_one_name_are_an_error():
    plan = built()[1]
    with pytest.raises(InitError, match=r"two tensors .* both be 'x.weight' in the part"):
        plan.select({"0": "x", "1.0": "x"})
    with pytest.raises(InitError, match=r"0.weight is a tensor, which would have no name"):
        plan.select("0.weight")


@pytest.mark.parametrize("names", [3, {"0": 3}, {3: "0"}, ["0"]])
def test_names_of_other_types_are_refused(names):
    with pytest.raises(InitTypeError, match=r"but got "):
        built()[1].select(names)


def test_draws_in_the_order_of_the_whole_have_no_parts():
    plan = initium.plan(net(), dict(type="Normal", layer="Linear"), seed=3, rng="torch")
    with pytest.raises(InitError, match=r"rng='torch' draws its tensors one after the other"):
        plan.select("1")


LAYERS = [
    lambda: nn.Linear(3, 5),
    lambda: nn.Conv2d(2, 4, 3, bias=False),
    lambda: nn.BatchNorm1d(3),
    lambda: nn.Embedding(4, 3, padding_idx=0),
    lambda: nn.ReLU(),
    lambda: nn.MultiheadAttention(4, 2),
    lambda: nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.LayerNorm(2), nn.GRU(2, 3))),
]
RULES = [
    dict(type="Kaiming", layer="Linear"),
    dict(type="Uniform", name="**.bias", a=-1, b=2),
]


@given(
    layers=st.lists(st.sampled_from(LAYERS), min_size=1, max_size=5),
    data=st.data(),
    rules=st.booleans(),
    way=st.sampled_from(WAYS),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_split_of_any_layers(layers, data, rules, way):
    def make():
        made = nn.Sequential(*(layer() for layer in layers))
        return nn.Sequential(nn.Linear(2, 2), *made)  # which the rules are for

    model, plan = built(make, init_cfg=RULES if rules else None)
    whole = tensors(model)
    names = [str(i) for i, module in enumerate(model) if tensors(module)]
    cut = data.draw(st.integers(0, len(names) - 1))
    for modules in (names[:cut], names[cut:]):
        if modules:
            way(plan, make, modules, whole)
