"""User code in `init_weights` is recorded: it becomes lines of the plan, and is written once."""

import copy
from unittest.mock import Mock

import pytest
import torch
from torch import nn

import initium
from initium import BaseModule, InitError, Plan, Sequential, plan, plan_of
from initium.here import unseen


class ToyConv(nn.Module):
    """Not ours: a module with an `init_weights` of its own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)

    def init_weights(self):
        nn.init.ones_(self.conv.weight)
        with torch.no_grad():
            self.conv.bias.fill_(2)


class Coded(BaseModule):
    """Runs the code that it is given, before or after what it declares."""

    def __init__(self, code, init_cfg=None, before=False):
        super().__init__(init_cfg)
        self.linear, self.other = nn.Linear(3, 4), nn.Linear(4, 2)
        self.code, self.before = code, before

    def init_weights(self):
        if self.before:
            self.code(self)
        super().init_weights()
        if not self.before:
            self.code(self)


def state(model):
    return {n: t.detach().clone() for n, t in (*model.named_parameters(), *model.named_buffers())}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


NORMAL = dict(type="Normal", std=0.5, bias=3, layer="Linear")


def test_user_code_becomes_lines_of_the_plan():
    model = Sequential(
        ToyConv(),
        nn.Linear(3, 3),
        init_cfg=dict(type="Constant", val=5, layer=["Conv2d", "Linear"]),
    )
    before = state(model)
    planned = plan(model, seed=1)
    line = ToyConv.init_weights.__code__.co_firstlineno
    assert str(planned["0.conv.weight"]) == "0.conv.weight Constant(val=1.0)"
    assert (
        planned["0.conv.weight"].write.source
        == f"ToyConv.init_weights, test_user_code.py:{line + 1}"
    )
    assert (
        planned["0.conv.bias"].write.source == f"ToyConv.init_weights, test_user_code.py:{line + 3}"
    )
    assert "ToyConv.init_weights" in str(planned)
    text = planned.explain("0.conv.weight").splitlines()
    assert "beaten by ToyConv.init_weights" in text[1]
    assert "ToyConv.init_weights" in text[2]
    assert "wins" in text[2]
    assert same(state(model), before)
    report = model.init_weights()
    assert report.counts == {"user code": 2, "filled": 2}
    assert report["0.conv.weight"].info == "Initialized by user-defined `init_weights` in ToyConv"
    assert model[0].conv.weight.eq(1).all()


def test_nothing_is_written_while_user_code_runs():
    seen = []

    def code(m):
        nn.init.normal_(m.linear.weight)
        with unseen():  # the memory itself
            seen.append(m.linear.weight.detach().clone())

    model = Coded(code, NORMAL)
    before = state(model)
    model.init_weights(seed=1)
    assert torch.equal(seen[0], before["linear.weight"])
    assert not torch.equal(model.linear.weight, before["linear.weight"])


def test_each_tensor_is_written_once(monkeypatch):
    written = []
    original = initium.writing.Writer._start

    def counting(self, part, write, target):
        written.append(target.name)
        return original(self, part, write, target)

    monkeypatch.setattr(initium.writing.Writer, "_start", counting)

    def code(m):
        nn.init.zeros_(m.linear.weight)
        nn.init.normal_(m.linear.weight)
        m.other.bias.data.fill_(1).mul_(3)

    Sequential(Coded(code, NORMAL), init_cfg=dict(type="Xavier", layer="Linear")).init_weights(
        seed=1
    )
    assert sorted(written) == ["0.linear.bias", "0.linear.weight", "0.other.bias", "0.other.weight"]


def test_user_code_sees_what_was_declared_before_it():
    seen = {}

    def code(m):
        seen["std"] = m.linear.weight.std().item()
        seen["bias"] = m.linear.bias.tolist()
        seen["weight"] = m.linear.weight.detach().clone()
        m.linear.weight.data.mul_(2)
        m.linear.bias.data.copy_(torch.arange(4.0))

    model = Coded(code, NORMAL)
    model.init_weights(seed=3)
    plain = Coded(lambda m: None, NORMAL)
    plain.init_weights(seed=3)
    assert seen["bias"] == [3, 3, 3, 3]
    assert torch.equal(seen["weight"], plain.linear.weight)
    assert torch.allclose(model.linear.weight, 2 * plain.linear.weight)
    assert model.linear.bias.tolist() == [0, 1, 2, 3]
    assert torch.equal(model.other.weight, plain.other.weight)


def test_values_come_from_the_tensors_own_stream_whoever_draws():
    by_torch = Coded(lambda m: nn.init.normal_(m.linear.weight, std=2))
    by_us = Coded(lambda m: initium.init.normal_(m.linear.weight, std=2))
    by_function = Coded(lambda m: initium.normal_init(m.linear, std=2))
    by_rule = Coded(lambda m: None, dict(type="Normal", std=2, layer="Linear"))
    for model in (by_torch, by_us, by_function, by_rule):
        model.init_weights(seed=4)
    for model in (by_us, by_function, by_rule):
        assert torch.equal(model.linear.weight, by_torch.linear.weight)
    with_seed = Coded(
        lambda m: initium.initialize(m.linear, dict(type="Normal", std=2, layer="Linear"), seed=9)
    )
    with_seed.init_weights(seed=4)
    alone = nn.Linear(3, 4)
    initium.initialize(alone, dict(type="Normal", std=2, layer="Linear"), seed=9)
    assert torch.equal(with_seed.linear.weight, alone.weight)


def test_randomness_of_user_code_follows_the_seed_and_leaves_torch_alone():
    def code(m):
        m.linear.weight.data.bernoulli_(0.5)
        m.other.weight.data[:, torch.randperm(4)[:2]] = 0
        m.chance = torch.rand(()).item()

    one, two, other = Coded(code), Coded(code), Coded(code)
    other.linear.load_state_dict(one.linear.state_dict())
    two.load_state_dict(one.state_dict())
    other.load_state_dict(one.state_dict())
    before = torch.get_rng_state()
    outer = [Sequential(m) for m in (one, two, other)]
    for model, seed in zip(outer, (1, 1, 2), strict=True):
        model.init_weights(seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(state(one), state(two))
    assert one.chance == two.chance != other.chance
    assert not same(state(one), state(other))


@pytest.mark.parametrize("stage", ["code", "after", "rule"])
def test_an_error_leaves_everything_as_it_was(stage):
    def code(m):
        m.linear.weight.data.mul_(m.linear.weight.abs().max())
        m.linear.bias.detach().numpy()[:] = 7
        if stage == "code":
            raise KeyError("half way")

    last = Coded(lambda m: initium.initialize(m.linear, dict(type="Normal", sdt=1, layer="Linear")))
    model = Sequential(Coded(code, NORMAL), *([last] if stage == "after" else []))
    if stage == "rule":
        model.init_cfg = dict(type="Pretrained", checkpoint="nowhere.pth")
    before = state(model)
    with pytest.raises((KeyError, InitError, FileNotFoundError)):
        model.init_weights()
    assert same(state(model), before)
    assert not any(m.is_init for m in model.modules() if isinstance(m, BaseModule))
    assert initium.here.HERE.planner is None
    assert initium.here.HERE.recorder is None


def test_a_warning_that_is_an_error_comes_before_the_first_write():
    outside = torch.zeros(2)
    model = Sequential(
        Coded(lambda m: outside.fill_(3), NORMAL), init_cfg=dict(type="Normal", layer="Lniear")
    )
    before = state(model)
    with pytest.raises(initium.InitWarning, match="Did you mean 'Linear'"):
        model.init_weights()
    assert same(state(model), before)
    assert not model.is_init
    assert outside.tolist() == [0, 0]
    rule = dict(type="Normal", layer="Lniear")
    with pytest.raises(initium.InitWarning):
        initium.build(lambda: nn.Linear(2, 2), init_cfg=rule)


def test_a_plan_leaves_no_mark_and_can_be_saved_and_applied(tmp_path):
    def code(m):
        nn.init.orthogonal_(m.linear.weight)
        m.other.weight.data[1].uniform_(-1, 1)
        m.other.bias.data.numpy()[1] = 4

    model = Sequential(Coded(code, NORMAL))
    twin = copy.deepcopy(model)
    before = state(model)
    planned = plan(model, seed=5)
    assert same(state(model), before)
    assert not model.is_init
    assert not model[0].is_init
    planned.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == planned
    initium.apply(Plan.load(tmp_path / "plan.json"), model)
    twin.init_weights(seed=5)
    assert same(state(model), state(twin))
    assert not plan_of(twin).diff(planned)
    w = model[0].linear.weight
    assert torch.allclose(w.T @ w, torch.eye(3), atol=1e-5)


def test_a_users_own_root_takes_part_in_one_plan():
    class Root(BaseModule):
        def __init__(self):
            super().__init__(NORMAL)
            self.a, self.b = nn.Linear(2, 2), Coded(lambda m: nn.init.zeros_(m.other.bias))

        def init_weights(self, value=7):
            super().init_weights()
            nn.init.constant_(self.a.weight, value)

    model = Root()
    report = model.init_weights(value=8)
    assert report["a.weight"].kind == "user code"
    assert model.a.weight.eq(8).all()
    assert model.a.bias.eq(3).all()
    assert model.b.other.bias.eq(0).all()
    assert model.is_init
    assert model.b.is_init
    with pytest.warns(initium.InitWarning, match="Root has been called more than once"):
        model.init_weights()
    assert model.a.weight.eq(7).all()  # the user's own code runs, as in Python


def test_a_return_value_of_user_code_is_the_users():
    class Root(BaseModule):
        def init_weights(self):
            super().init_weights()
            return "done"

    assert Root().init_weights() == "done"


def test_modules_that_user_code_creates():
    def code(m):
        m.new = nn.Linear(3, 3)
        nn.init.constant_(m.new.weight, 2)
        m.mine = nn.Parameter(torch.randn(4) * 0.1)
        m.block = Sequential(nn.Linear(2, 2), init_cfg=dict(type="Constant", val=6, layer="Linear"))
        m.block.init_weights()

    model, twin = Sequential(Coded(code)), Sequential(Coded(code))
    report = model.init_weights(seed=1)
    twin.init_weights(seed=1)
    assert report["0.mine"].kind == "user code"
    assert model[0].new.weight.eq(2).all()
    assert model[0].block[0].weight.eq(6).all()
    assert 0 < model[0].mine.abs().max() < 1
    for name in ("0.new.bias", "0.mine"):
        assert torch.equal(state(model)[name], state(twin)[name])
    only_planned = Sequential(Coded(code))
    plan(only_planned, seed=1)
    assert only_planned[0].new.weight.eq(2).all()  # what was made has its values


def test_what_user_code_writes_elsewhere_is_written():
    outside = torch.zeros(3)
    shared = nn.Linear(2, 2)

    def code(m):
        outside.fill_(4)
        nn.init.constant_(shared.weight, 5)

    Coded(code).init_weights()
    assert outside.tolist() == [4, 4, 4]
    assert shared.weight.eq(5).all()


def test_a_child_that_user_code_initialises_by_hand_keeps_it():
    def code(m):
        m.child.init_weights()

    model = Coded(code, dict(type="Constant", val=1, layer="Linear"), before=True)
    model.child = Sequential(nn.Linear(2, 2), init_cfg=dict(type="Constant", val=9, layer="Linear"))
    model.init_weights()
    assert model.child[0].weight.eq(9).all()
    assert model.linear.weight.eq(1).all()


def test_update_init_info_credits_what_user_code_wrote():
    def code(m):
        nn.init.ones_(m.linear.weight)
        initium.update_init_info(m, "mine")
        nn.init.ones_(m.other.weight)

    report = Sequential(Coded(code)).init_weights()
    assert report["0.linear.weight"].info == "mine"
    assert report["0.other.weight"].info == "Initialized by user-defined `init_weights` in Coded"


def test_user_code_on_shared_and_tied_tensors():
    def code(m):
        nn.init.constant_(m.tied.weight, 4)
        m.linear.weight.data[0].fill_(1)

    model = Coded(code, NORMAL)
    model.tied = nn.Linear(3, 4)
    model.tied.weight = model.linear.weight
    model.init_weights()
    assert model.linear.weight[1:].eq(4).all()
    assert model.linear.weight[0].eq(1).all()
    assert plan_of(model)["tied.weight"].what == "Constant(val=4), [0] Constant(val=1)"


def test_parameters_that_are_views_of_one_memory():
    class Flat(BaseModule):
        def __init__(self):
            super().__init__(dict(type="Constant", val=2, name="a"))
            self.flat = torch.zeros(10)
            self.a, self.b = nn.Parameter(self.flat[:4]), nn.Parameter(self.flat[4:])

        def init_weights(self):
            super().init_weights()
            self.seen = self.a.detach().sum().item()
            nn.init.normal_(self.b, std=3)
            self.flat[9], self.flat[1] = 100, -1

    model = Flat()
    model.init_weights()
    assert model.seen == 8
    assert model.flat[:4].tolist() == [2, -1, 2, 2]
    assert model.flat[9] == 100
    assert model.b[:5].abs().max() > 0
    assert torch.equal(model.flat[4:], model.b.data)


def test_a_method_that_a_test_has_replaced_is_called():
    model = BaseModule()
    model.linear, model.other = nn.Linear(2, 2), Coded(lambda _: None, NORMAL)
    model.linear.init_weights = Mock(side_effect=lambda: nn.init.ones_(model.linear.weight))
    model.other.init_weights = Mock()
    model.init_weights()
    assert model.linear.init_weights.call_count == model.other.init_weights.call_count == 1
    assert model.linear.weight.eq(1).all()
