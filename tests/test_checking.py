"""A checkpoint against a plan: every tensor is drawn again, and compared to the bit."""

import json
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file, save_model
from torch import nn
from typer.testing import CliRunner

import initium
from families import FAMILIES
from initium import InitError, Plan
from initium.checking import check_checkpoint, values
from initium.cli import app
from initium.errors import InitFileNotFoundError


def as_safetensors(model, path):
    save_model(model, path / "x.safetensors")
    return path / "x.safetensors"


def as_index(model, path):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    names = list(state)
    files = {name: f"x-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    folder = path / "index"
    folder.mkdir()
    for file in set(files.values()):
        save_file({name: state[name] for name in names if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return folder


def as_pth(model, path):
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, path / "x.pth")
    return path / "x.pth"


def as_dcp(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it is alone
        dcp.save(model.state_dict(), checkpoint_id=path / "dcp")
    return path / "dcp"


SAVED = [as_safetensors, as_index, as_pth, as_dcp]


@pytest.mark.parametrize("save", SAVED)
@pytest.mark.parametrize("sort", ["plain", "crafted"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_built_is_what_the_plan_says(family, sort, save, tmp_path):
    family = FAMILIES[family]
    rules = family.rules if sort == "crafted" else None
    model = initium.build(getattr(family, sort), seed=3, init_cfg=rules)
    initium.plan_of(model).save(tmp_path / "plan.json")
    plan, path = Plan.load(tmp_path / "plan.json"), save(model, tmp_path)
    found = check_checkpoint(plan, path, everything=True)
    assert found.same, str(found)
    present = set(plan.lines) - set(found.left_out)
    assert set(found.checked) == present
    assert set(found.left_out) == set(plan.lines) - set(model.state_dict())
    other = check_checkpoint(plan, path, everything=True, seed=4)
    drawn = {line.name for line in plan if getattr(line.write, "initializer", None) and line.std}
    assert {d.kind for d in other.differences} == {"values"}
    named = {plan[difference.name].name for difference in other.differences}
    assert drawn <= named <= present


def net():
    return nn.Sequential(nn.Linear(40, 50), nn.BatchNorm1d(50), nn.Linear(50, 3))


@pytest.fixture
def start(tmp_path):
    """(plan, state dict, a function that saves and checks it)."""
    model = initium.build(net, seed=7)
    plan = initium.plan_of(model)

    def check(state, **kw):
        torch.save(state, tmp_path / "x.pth")
        return check_checkpoint(plan, tmp_path / "x.pth", **kw)

    return plan, model.state_dict(), check


def said(found):
    return [(d.name, d.kind, d.message) for d in found.differences]


@pytest.mark.parametrize("step", [values.STEP, 100])
def test_one_element_that_differs_is_found_and_shown(start, step, monkeypatch):
    monkeypatch.setattr(values, "STEP", step)  # elements that are compared at a time
    _, state, check = start
    assert check(state).same
    value = state["0.weight"][17, 3].item()
    state["0.weight"][17, 3] += 1e-7
    got = state["0.weight"][17, 3].item()
    state["0.weight"][40, 2] = 9
    expected = f"2 of 2000 elements differ; the first at [17, 3]: got {got!r}, expected {value!r}"
    found = check(state)
    assert said(found) == [("0.weight", "values", expected)]
    assert not found.same
    assert (
        str(found)
        .splitlines()[0]
        .endswith("x.pth is not the start that the plan of Sequential describes with seed 7")
    )
    assert str(found).splitlines()[-1] == f"- 0.weight: {expected}"


def test_constants_and_signs_of_zero_count(start):
    _, state, check = start
    state["1.bias"][4] = -0.0
    text = "1 of 50 elements differ; the first at [4]: got -0.0, expected 0.0"
    assert said(check(state)) == [("1.bias", "values", text)]
    state["1.num_batches_tracked"] += 1
    text = "1 of 1 elements differ; the first at []: got 1, expected 0"
    assert said(check(state))[1:] == [("1.num_batches_tracked", "values", text)]


def test_nan_that_was_planned_is_no_difference(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("odd", torch.tensor([1.0, float("nan"), float("inf")]))

    model = initium.build(Odd, seed=0)
    path = as_pth(model, tmp_path)
    assert check_checkpoint(initium.plan_of(model), path).same


def test_names_shapes_and_dtypes_that_differ(start):
    _, state, check = start
    del state["0.bias"]
    state["extra"] = torch.zeros(2, 3, dtype=torch.int32)
    state["2.bias"] = state["2.bias"][:2]
    state["2.weight"] = state["2.weight"].double()
    state["1.weight"] = state["1.weight"].int()
    assert said(check(state)) == [
        ("extra", "unknown", "the plan has no such tensor; the checkpoint has [2, 3] int32"),
        ("0.bias", "missing", "it is not in the checkpoint"),
        ("1.weight", "dtype", "its dtype is torch.int32, expected torch.float32"),
        ("2.weight", "dtype", "its dtype is torch.float64, expected torch.float32"),
        ("2.bias", "shape", "its shape is [2], expected [3]"),
    ]
    assert check(state).checked == (
        "0.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_lower_precision_is_compared_with_the_rounded_values(start, dtype):
    plan, state, check = start
    low = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    found = check(low)
    assert found.same
    assert set(found.rounded) == set(plan.lines) - {"1.num_batches_tracked"}
    assert "in lower precision, compared with the rounded values: 0.weight" in str(found)
    built = initium.build(net, seed=7, dtype=dtype).state_dict()
    assert check(built).same and set(check(built).rounded) == set(found.rounded)
    low["0.weight"].view(torch.int16)[0, 0] += 1
    assert [d.name for d in check(low).differences] == ["0.weight"]


def test_a_wrapped_model_was_saved(start):
    _, state, check = start
    for before in ("module.", "_orig_mod.", "module._orig_mod."):
        assert check({before + k: v for k, v in state.items()}).same
    found = check({"net." + k: v for k, v in state.items()})
    assert {d.kind for d in found.differences} == {"unknown", "missing"}
    assert check({"net." + k: v for k, v in state.items()}, prefix="net").same
    assert check({"ema": state, "raw": {"x": torch.ones(1)}}, key="ema").same


def test_a_model_was_wrapped_when_it_was_planned(start, tmp_path):
    torch.manual_seed(0)

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

    wrapped = torch.compile(Tied())
    rules = dict(type="Normal", layer="Linear", bias=0.5)
    initium.initialize(wrapped, rules, seed=0)
    for state in (wrapped.state_dict(), wrapped._orig_mod.state_dict()):
        torch.save(state, tmp_path / "y.pth")
        found = check_checkpoint(initium.plan_of(wrapped), tmp_path / "y.pth")
        assert found.same
        assert len(found.checked) == 3


def test_a_module_that_is_called_module(tmp_path):
    model = initium.build(lambda: nn.ModuleDict({"module": nn.Linear(2, 2)}), seed=0)
    assert check_checkpoint(initium.plan_of(model), as_pth(model, tmp_path)).same


def test_tied_tensors_are_compared_wherever_they_lie(tmp_path):
    model = initium.build(FAMILIES["tied llama"].plain, seed=3)
    plan = initium.plan_of(model)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = tmp_path / "x.pth"
    for gone in ("lm_head.weight", "model.embed_tokens.weight"):
        torch.save({k: v for k, v in state.items() if k != gone}, path)
        assert check_checkpoint(plan, path).same
    state["lm_head.weight"][1, 1] = 5
    torch.save(state, path)
    found = check_checkpoint(plan, path, everything=True)
    assert [d.name for d in found.differences] == ["lm_head.weight"]
    del state["lm_head.weight"], state["model.embed_tokens.weight"]
    torch.save(state, path)
    [difference] = check_checkpoint(plan, path).differences
    assert difference.kind == "missing"
    assert difference.message == "it is not in the checkpoint, nor as lm_head.weight"


def test_a_tensor_of_which_a_part_is_written(tmp_path):
    class Gaps(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Parameter(torch.empty(4, 2))
            nn.init.ones_(self.part[:3])

    with pytest.warns(initium.InitWarning, match="never written"):
        model = initium.build(Gaps, seed=0)
    plan, state = initium.plan_of(model), model.state_dict()
    for row, count in ((3, 0), (1, 1)):  # the last row may be anything
        state["part"][row] = 7
        torch.save(state, tmp_path / "x.pth")
        assert len(check_checkpoint(plan, tmp_path / "x.pth").differences) == count


def test_a_tensor_that_the_plan_leaves_alone_is_said_to_be_so(tmp_path):
    model = net()
    rules = [dict(type="Normal", layer="Linear"), dict(type="Keep", name="0.*")]
    initium.initialize(model, rules, seed=0)
    torch.save(dict(model.named_parameters()), tmp_path / "x.pth")
    found = check_checkpoint(initium.plan_of(model), tmp_path / "x.pth")
    assert found.same
    assert found.checked == ("2.weight", "2.bias")
    assert found.unplanned == ("0.weight", "0.bias", "1.weight", "1.bias")
    assert "without values in the plan, not compared: 0.weight, 0.bias" in str(found)
    assert found.tensors == 2


def test_what_was_loaded_is_read_again(tmp_path):
    source = tmp_path / "source.pth"
    torch.save({**net().state_dict(), "2.weight": torch.randn(2, 50)}, source)
    rows = dict(type="Vocabulary", name="2.weight")
    model = initium.build(
        net, seed=0, init_cfg=dict(type="Pretrained", checkpoint=str(source), adapt=[rows])
    )
    plan, path = initium.plan_of(model), as_pth(model, tmp_path)
    assert check_checkpoint(plan, path, everything=True).same
    [grown] = check_checkpoint(plan, path, everything=True, seed=1).differences
    assert grown.name == "2.weight"
    torch.save({**torch.load(source), "0.bias": torch.ones(50)}, source)
    [changed] = check_checkpoint(plan, path).differences
    assert changed.message.endswith("expected 1.0")
    source.unlink()
    with pytest.raises(InitFileNotFoundError, match=r"0.weight: there is no .*source.pth"):
        check_checkpoint(plan, path)


class Buffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.Parameter(torch.arange(3.0))
        self.register_buffer("kept", torch.ones(3), persistent=True)
        self.register_buffer("mask", torch.full((2, 2), -1.5), persistent=False)


def test_buffers_that_no_state_dict_has_are_not_missed(tmp_path):
    model = initium.build(Buffers, seed=0)
    initium.plan_of(model).save(tmp_path / "plan.json")
    plan, state = Plan.load(tmp_path / "plan.json"), model.state_dict()
    torch.save(state, tmp_path / "x.pth")
    found = check_checkpoint(plan, tmp_path / "x.pth", everything=True)
    assert found.same and found.left_out == ("mask",)
    assert "in no state dict, and not in this checkpoint: mask" in str(found)
    torch.save({"other": torch.ones(1)}, tmp_path / "x.pth")
    found = check_checkpoint(plan, tmp_path / "x.pth")
    missing = [d.name for d in found.differences if d.kind == "missing"]
    assert missing == ["steps", "kept"]
    torch.save({**state, "mask": torch.ones(2, 2)}, tmp_path / "x.pth")
    assert [d.name for d in check_checkpoint(plan, tmp_path / "x.pth").differences] == ["mask"]


# ---- the sample


def deep():
    return nn.Sequential(*(nn.Linear(3, 4 if i == 30 else 3) for i in range(300)))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    model = initium.build(deep, seed=0)
    return initium.plan_of(model), as_safetensors(model, tmp_path_factory.mktemp("many"))


def test_the_sample_is_fresh_and_has_the_first_and_the_largest(many):
    samples = [check_checkpoint(*many).checked for _ in range(5)]
    for names in samples:
        assert len(names) == len(set(names)) == 30  # 5 % of 600
        assert {"0.weight", "30.weight"} < set(names)
        assert list(names) == [line.name for line in many[0] if line.name in names]
    assert len(set(samples)) == 5
    assert len(check_checkpoint(*many, everything=True).checked) == 600


@given(sample=st.integers(1, 700))
@settings(max_examples=20, deadline=None)
def test_a_sample_of_any_size(many, sample):
    found = check_checkpoint(*many, sample=sample)
    assert len(found.checked) == min(max(sample, 2), 600)
    assert {"0.weight", "30.weight"} <= set(found.checked)


def test_the_share_is_stated(many):
    found = check_checkpoint(*many, sample=3)
    other = next(name for name in found.checked if name not in ("0.weight", "30.weight"))
    n = 4 * sum(many[0][name].elements() for name in ("0.weight", "30.weight", other))
    total = 4 * sum(line.elements() for line in many[0])
    assert (found.checked_bytes, found.total_bytes) == (n, total)
    text = f"3 of 600 tensors (0.5%), {n} of {total:,} bytes ({n / total:.1%})"
    assert f"drawn again and compared: {text}" in str(found)


@pytest.mark.parametrize("kw", [dict(sample=0), dict(sample=-1), dict(sample=2, everything=True)])
def test_a_sample_that_is_none_is_refused(many, kw):
    with pytest.raises(InitError, match=r"sample must be 1 or more, and without everything"):
        check_checkpoint(*many, **kw)


# ---- what cannot be checked


def test_plans_without_a_seed_need_one(tmp_path):
    rules = dict(type="Normal", layer="Linear")
    model = net()
    plan = initium.plan(model, rules)
    with pytest.raises(InitError, match=r"the plan has no seed; say which .*seed=, --seed"):
        check_checkpoint(plan, tmp_path / "x.pth")
    initium.initialize(model, rules, seed=("a", 3))
    torch.save(dict(model.named_parameters()), tmp_path / "x.pth")
    assert check_checkpoint(plan, tmp_path / "x.pth", seed=("a", 3)).same
    assert not check_checkpoint(plan, tmp_path / "x.pth", seed=("a", 4)).same


def test_plans_that_draw_in_an_order_are_refused(tmp_path):
    plan = initium.plan(net(), dict(type="Normal", layer="Linear"), seed=1, rng="torch")
    with pytest.raises(InitError, match=r"rng='torch', one tensor after the other"):
        check_checkpoint(plan, tmp_path / "x.pth")


def test_nothing_is_left_of_the_randomness_of_others(start):
    _, state, check = start
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check(state)
    assert torch.equal(before, torch.get_rng_state())


# ---- the command


def run(*arguments):
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


@pytest.fixture
def files(tmp_path):
    model = initium.build(net, seed=7)
    initium.plan_of(model).save(tmp_path / "plan.json")
    return tmp_path / "plan.json", as_pth(model, tmp_path)


def test_exit_codes_and_text(files):
    done = run(*files)
    assert done.exit_code == 0, done.output
    assert "x.pth is the start that the plan of Sequential describes with seed 7" in done.stdout
    assert "9 of 9 tensors (100.0%)" in done.stdout
    done = run(*files, "--seed", 8, "--all")
    assert done.exit_code == 1
    assert "- 0.weight: 2000 of 2000 elements differ" in done.stdout
    done = run(*files, "--sample", 2)
    assert done.exit_code == 0
    assert "2 of 9 tensors" in done.stdout


def test_json(files):
    done = run(*files, "--json", "--seed", 8)
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert found["same"] is False and found["seed"] == 8
    assert found["differences"][0]["name"] == "0.weight"
    assert found["checked_bytes"] == found["total_bytes"]
    assert json.loads(run(*files, "--json").stdout)["same"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{}/no.json", "{}/x.pth"), "there is no plan file"),
        (("{}/plan.json", "{}/no.pth"), "no.pth"),
        (("{}/plan.json", "{}/plan.json"), "cannot read the checkpoint"),
        (("{}/x.pth", "{}/x.pth"), "is no plan"),
        (("{}/plan.json", "{}/x.pth", "--all", "--sample", 3), "sample must be"),
        (("{}/plan.json", "{}/x.pth", "--sample", 0), ""),
        (("{}/plan.json", "{}/x.pth", "--key", "ema"), "there is no state dict at key='ema'"),
        (("{}/plan.json",), ""),
    ],
)
def test_mistakes_have_exit_code_2(files, arguments, message):
    done = run(*(str(a).format(files[0].parent) for a in arguments))
    assert done.exit_code == 2, done.output
    assert message in done.output and "Traceback" not in done.output
