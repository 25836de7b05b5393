"""BaseModule and its containers; user-defined `init_weights`; the log."""

import copy
import logging

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import initium
from initium import BaseModule, InitWarning, ModuleDict, ModuleList, Sequential


class Net(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.linear = nn.Linear(2, 2)


class Own(nn.Module):
    """Initialises itself and counts how often."""

    def __init__(self, value=7.0):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3))
        self.value, self.calls = value, 0

    def init_weights(self):
        self.calls += 1
        nn.init.constant_(self.w, self.value)


ONES = dict(type="Constant", layer="Linear", val=1, bias=2)


@pytest.fixture(scope="module")
def process_group(tmp_path_factory):
    store = tmp_path_factory.mktemp("gloo") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_init_cfg_is_copied():
    shared = [dict(ONES, override=dict(name="linear"))]
    before = copy.deepcopy(shared)
    a, b = Net(shared), Net(shared)
    a.init_weights()
    a.init_cfg[0]["val"] = 5
    assert shared == before
    b.init_weights()
    assert b.linear.weight[0, 0] == 1


def test_second_call_warns_and_changes_nothing():
    net = Net(ONES)
    assert net.is_init is False
    net.init_weights()
    assert net.is_init is True
    with torch.no_grad():
        net.linear.weight.fill_(9)
    with pytest.warns(InitWarning, match=r"init_weights of Net has been called more than once\."):
        net.init_weights()
    assert net.linear.weight.eq(9).all()


def test_repr_shows_init_cfg():
    assert repr(Net(ONES)).endswith(f"init_cfg={ONES}")
    assert "init_cfg" not in repr(Net())


@pytest.mark.parametrize(
    "make",
    [
        lambda a, b, cfg: Sequential(a, b, init_cfg=cfg),
        lambda a, b, cfg: ModuleList([a, b], init_cfg=cfg),
        lambda a, b, cfg: ModuleDict({"a": a, "b": b}, init_cfg=cfg),
    ],
)
def test_containers_and_nearer_beats_farther(make):
    near, far = Net(dict(ONES, val=3)), Net()
    container = make(near, far, ONES)
    container.init_weights()
    assert near.linear.weight.eq(3).all()
    assert far.linear.weight.eq(1).all()
    assert near.is_init and far.is_init and container.is_init


def test_pretrained_comes_last_and_beats_the_children(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "net.pth")
    saved = torch.load(tmp_path / "net.pth")

    class Child(Net):
        def init_weights(self):
            nn.init.constant_(self.linear.weight, 5)

    outer = Sequential(Child(), init_cfg=[
        dict(type="Pretrained", checkpoint=str(tmp_path / "outer.pth")), ONES,
    ])  # fmt: skip
    torch.save({f"0.{k}": v for k, v in saved.items()}, tmp_path / "outer.pth")
    outer.init_weights()
    assert torch.equal(outer[0].linear.weight, saved["linear.weight"])


def three_levels():
    leaf = Own()
    middle = nn.Sequential(Net(dict(ONES, val=4)), nn.Sequential(leaf))
    root = BaseModule(init_cfg=ONES)
    root.top = nn.Linear(2, 2)
    root.middle = DistributedDataParallel(middle)
    return root, leaf


def test_user_code_is_called_once_through_containers_and_ddp(process_group):
    root, leaf = three_levels()
    root.init_weights()
    assert leaf.calls == 1
    assert leaf.w.eq(7).all()
    assert root.middle.module[0].linear.weight.eq(4).all()
    assert root.top.weight.eq(1).all()


def test_log_of_three_levels_with_ddp(process_group, caplog):
    root, _ = three_levels()
    root.init_weights()
    blocks = [record.getMessage().strip() for record in caplog.records]
    got = {block.split(" - ")[0]: block.splitlines()[1] for block in blocks}
    assert list(got) == [name for name, _ in root.named_parameters()]
    assert got["top.weight"] == "ConstantInit: val=1, bias=2"
    assert got["middle.module.0.linear.weight"] == "ConstantInit: val=4, bias=2"
    assert got["middle.module.1.0.w"] == "Initialized by user-defined `init_weights` in Own"
    assert {r.name for r in caplog.records} == {"initium"}
    assert {r.levelno for r in caplog.records} == {logging.INFO}


def test_untouched_parameters_are_logged_as_the_same(caplog):
    Net().init_weights()
    assert "linear.weight - torch.Size([2, 2]):\nThe value is the same before and after calling " \
        "`init_weights` of Net" in caplog.text  # fmt: skip


def test_details_go_to_the_file_where_there_is_one(tmp_path, caplog):
    handler = logging.FileHandler(tmp_path / "out.log")
    logger = logging.getLogger("initium")
    logger.addHandler(handler)
    try:
        Net(ONES).init_weights()
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert (
        "linear.weight - torch.Size([2, 2]):\nConstantInit: val=1"
        in (tmp_path / "out.log").read_text()
    )
    assert caplog.text == ""


def test_other_ranks_are_silent(monkeypatch, caplog):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    Net(ONES).init_weights()
    assert caplog.text == ""


def test_shared_module_is_called_once():
    own = Own()
    Sequential(nn.Sequential(own), own, nn.Sequential(own)).init_weights()
    assert own.calls == 1


def test_user_code_answers_for_what_lies_below_it():
    class Outer(Own):
        def __init__(self):
            super().__init__()
            self.inner = Own()

    outer = Outer()
    Sequential(outer).init_weights()
    assert (outer.calls, outer.inner.calls) == (1, 0)


def test_user_code_beats_init_cfg_and_super_runs_the_declarations():
    seen = []

    class Custom(Net):
        def init_weights(self):
            super().init_weights()
            seen.append(self.linear.weight[0, 0].item())
            nn.init.constant_(self.linear.bias, 8)

    child = Custom(dict(ONES, val=3))
    root = Sequential(child, init_cfg=dict(ONES, val=1, bias=1))
    report = root.init_weights()
    assert seen == [3.0]
    assert child.linear.weight.eq(3).all() and child.linear.bias.eq(8).all()
    assert report["0.linear.weight"].info == "ConstantInit: val=3, bias=2"
    assert report["0.linear.bias"].kind == "user code"
    assert child.is_init


def test_a_child_initialised_before_is_not_overwritten():
    child = Net(dict(ONES, val=3))
    root = Sequential(child, nn.Linear(1, 1), init_cfg=ONES)
    child.init_weights()
    root.init_weights()
    assert child.linear.weight.eq(3).all()
    assert root[1].weight.eq(1).all()


@pytest.mark.parametrize(
    "write",
    [
        lambda w: w.data.fill_(0),
        lambda w: w.data.zero_(),
        lambda w: setattr(w, "data", torch.zeros(3)),
        lambda w: torch.zeros(3, out=w.data),
        lambda w: torch._foreach_zero_([w.data]),
    ],
)
def test_writes_of_equal_values_are_known_not_guessed(write):
    class Hidden(Own):
        def init_weights(self):
            write(self.w)

    report = Sequential(Hidden()).init_weights()
    assert report["0.w"].kind == "user code"


def test_user_code_that_only_reads_is_not_credited():
    class Reader(Own):
        def init_weights(self):
            self.w.data.mul(2).sum()

    assert Sequential(Reader()).init_weights()["0.w"].kind == "unset"


def test_parameters_replaced_by_user_code_are_followed():
    class Replacing(Own):
        def init_weights(self):
            self.w = nn.Parameter(torch.ones(5))
            self.extra = nn.Parameter(torch.ones(2))

    report = Sequential(Replacing()).init_weights()
    assert report["0.w"].kind == "user code" and report["0.w"].shape == (5,)
    assert report["0.extra"].kind == "user code"


def test_nothing_is_left_on_the_modules():
    root = Sequential(Own(), Net(ONES))
    before = [sorted(vars(module)) for module in root.modules()]
    root.init_weights()
    assert [sorted(vars(module)) for module in root.modules()] == before
    assert not any(vars(parameter) for parameter in root.parameters())


def test_update_init_info_within_init_weights():
    class Labelled(Own):
        def init_weights(self):
            self.w.data.fill_(1)
            initium.update_init_info(self, "by hand")

    assert Sequential(Labelled()).init_weights()["0.w"].info == "by hand"


def test_update_init_info_on_mmengines_notes():
    net = Net()
    net._params_init_info = {
        p: dict(init_info="", tmp_mean_value=p.data.mean()) for p in net.parameters()
    }
    nn.init.constant_(net.linear.weight, 1)
    initium.update_init_info(net, "ones")
    assert net._params_init_info[net.linear.weight]["init_info"] == "ones"
    assert net._params_init_info[net.linear.bias]["init_info"] == ""
    net.linear.bias = nn.Parameter(torch.zeros(2))
    with pytest.raises(
        AssertionError, match=r"linear\.bias of Net is not in its _params_init_info"
    ):
        initium.update_init_info(net, "x")


def test_module_that_is_a_layer_and_a_base_module():
    class Conv(nn.Conv2d, BaseModule):
        pass

    conv = Conv(1, 1, 1)
    conv.init_cfg = dict(type="Constant", layer="Conv2d", val=2)
    conv.init_weights()
    assert conv.weight.item() == 2


def test_seed_makes_it_repeatable_and_spares_the_global_generator():
    cfg = dict(type="Normal", layer="Linear")
    state = torch.get_rng_state()
    a, b = Net(cfg), Net(cfg)
    torch.set_rng_state(state)
    a.init_weights(seed=("x", 1))
    b.init_weights(seed=("x", 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a.linear.weight, b.linear.weight)


def test_manual_seed_makes_it_repeatable_and_two_calls_differ():
    nets = [Net(dict(type="Normal", layer="Linear")) for _ in range(3)]
    for net, seed in zip(nets, (1, 1, None), strict=True):
        if seed is not None:
            torch.manual_seed(seed)
        net.init_weights()
    assert torch.equal(nets[0].linear.weight, nets[1].linear.weight)
    assert not torch.equal(nets[1].linear.weight, nets[2].linear.weight)


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        (dict(type="Nope"), r"^below Sequential\.1\.init_weights: init_cfg of Custom"),
        (
            dict(ONES, override=dict(name="nowhere")),
            r"^init_cfg of Sequential\.1, rule 1, override 1",
        ),
    ],
)
def test_mistakes_below_user_code_show_before_the_first_write(bad, where):
    class Custom(Net):
        def init_weights(self):
            super().init_weights()

    root = Sequential(nn.Linear(1, 1), Custom(bad), init_cfg=ONES)
    before = root[0].weight.clone()
    with pytest.raises(initium.InitError, match=where):
        root.init_weights()
    assert torch.equal(root[0].weight, before)
    assert not root.is_init


def test_rules_that_user_code_never_comes_to_mean_no_tensors():
    class Custom(Net):
        def init_weights(self):
            nn.init.constant_(self.linear.weight, 5)

    custom = Custom(dict(ONES, override=dict(name="a_child_of_another_class")))
    root = Sequential(nn.Linear(1, 1), custom, init_cfg=ONES)
    root.init_weights()
    assert bool((root[0].weight == 1).all())
    assert bool((custom.linear.weight == 5).all())


def test_a_tensor_that_ranks_hold_terms_of_is_refused_before_the_first_write(process_group):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial

    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    mesh = init_device_mesh("cpu", (1,))
    model[1].weight = nn.Parameter(DTensor.from_local(torch.ones(2, 2), mesh, [Partial()]))
    before = model[0].weight.clone()
    with pytest.raises(
        initium.InitError, match=r"1\.weight: its placements are .* redistribute it"
    ):
        initium.initialize(model, ONES)
    assert torch.equal(model[0].weight, before)
