"""The recorder: what constructors write is noted, and each tensor is filled once."""

import contextlib
import copy
import gc
import io
import json
import math
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.testing._internal.two_tensor import TwoTensor

import initium
from initium import InitError, InitWarning, build, materialize, plan_of, recording


def what(model):
    return {line.name: line.what for line in plan_of(model)}


def of(*statements):
    """A model whose one parameter `w` (4x6) is written to by the statements, and its plan's line."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.empty(4, 6))
            for statement in statements:
                statement(self)

    model = build(Net, seed=0)
    return model, plan_of(model)["w"].what


def state(model):
    return {n: t.detach().clone() for n, t in (*model.named_parameters(), *model.named_buffers())}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


# ---- fills, parts, chains


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        (lambda m: nn.init.normal_(m.w, 1, 2), "Normal(mean=1.0, std=2.0)"),
        (lambda m: m.w.data.uniform_(-1, 2), "Uniform(a=-1.0, b=2.0)"),
        (lambda m: m.w.data.normal_(), "Normal(mean=0, std=1)"),
        (lambda m: m.w.data.zero_(), "Constant(val=0)"),
        (lambda m: m.w.data.fill_(0.5), "Constant(val=0.5)"),
        (lambda m: nn.init.trunc_normal_(m.w, std=0.5, a=-1, b=1),
         "TruncNormal(mean=0.0, std=0.5, a=-1, b=1, units='absolute')"),
        (lambda m: setattr(m, "w", nn.Parameter(torch.ones(4, 6))), "Constant(val=1)"),
        (lambda m: setattr(m, "w", nn.Parameter(torch.full((4, 6), 3.0))), "Constant(val=3.0)"),
        (lambda m: setattr(m, "w", nn.Parameter(m.w.new_zeros(4, 6))), "Constant(val=0)"),
        (lambda m: setattr(m, "w", nn.Parameter(torch.randn(4, 6) * 0.02)),
         "Normal(mean=0.0, std=0.02)"),
        (lambda m: setattr(m, "w", nn.Parameter(0.1 + torch.rand(4, 6) / 2)),
         "Uniform(a=0.1, b=0.6)"),
        (lambda m: setattr(m, "w", nn.Parameter(-torch.randn(4, 6))),
         "Normal(mean=0, std=1).neg()"),
        (lambda m: m.w.data.normal_().clamp_(-2, 2).exp_(),
         "Normal(mean=0, std=1).clamp(-2, 2).exp()"),
        (lambda m: m.w.data.uniform_(-1, 1).erfinv_().mul_(math.sqrt(2)),
         f"Uniform(a=-1.0, b=1).erfinv().mul({math.sqrt(2)})"),
        (lambda m: nn.init.trunc_normal_(m.w).mul_(2).add_(1),
         "TruncNormal(mean=1.0, std=2.0, a=-3.0, b=5.0, units='absolute')"),
    ],
)  # fmt: skip
def test_a_fill_is_noted_as_an_initializer(statement, line):
    with torch.no_grad():
        model, got = of(statement)
    assert got == line
    assert torch.isfinite(model.w).all()


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        (lambda w: w[2].zero_(), "[2]"),
        (lambda w: w[:, 1:5:2].zero_(), "[:, 1:4:2]"),
        (lambda w: w[1:3, 2:4].zero_(), "[1:3, 2:4]"),
        (lambda w: w.t()[3].zero_(), "[:, 3]"),
        (lambda w: w.chunk(2)[1].zero_(), "[2:4]"),
        (lambda w: w.view(2, 2, 6)[1].zero_(), "[2:4]"),
        (lambda w: w.view(-1)[6:12].zero_(), "[1]"),
        (lambda w: w[::3].zero_(), "[0:4:3]"),
    ],
)
def test_a_fill_of_a_view_is_a_part_on_top(statement, part):
    model, got = of(lambda m: nn.init.ones_(m.w), lambda m: statement(m.w.data))
    assert got == f"Constant(val=1.0), {part} Constant(val=0)"
    expected = torch.ones(4, 6)
    statement(expected)
    assert torch.equal(model.w.data, expected)


def test_parts_have_streams_of_their_own():
    model, got = of(
        lambda m: [nn.init.xavier_uniform_(p) for p in m.w.data.chunk(2)],
        lambda m: m.w.data[1, :2].normal_(0, 3),
    )
    a = math.sqrt(6 / 8)
    assert got.startswith(f"[0:2] Uniform(a={-a}")
    assert not torch.equal(model.w[0], model.w[2])
    assert (model.w[2:].abs() <= a).all()


def test_padding_and_repeated_parts():
    model = build(lambda: nn.Embedding(5, 3, padding_idx=-2), seed=1)
    assert what(model) == {"weight": "Normal(mean=0, std=1), [3] Constant(val=0)"}
    assert model.weight[3].eq(0).all()
    assert not model.weight[2].eq(0).any()

    def again(m):
        for _ in range(3):
            m.w.data[0].fill_(2)

    assert of(lambda m: m.w.data.fill_(1), again)[1] == "Constant(val=1), [0] Constant(val=2)"


def test_arithmetic_on_all_reaches_the_parts():
    model, got = of(
        lambda m: m.w.data.fill_(1), lambda m: m.w.data[0].fill_(3), lambda m: m.w.data.mul_(2)
    )
    assert got == "Constant(val=2.0), [0] Constant(val=6.0)"
    assert model.w[:2, 0].tolist() == [6, 2]


def test_a_tensor_that_is_filled_row_by_row():
    class Net(nn.Module):
        def __init__(self, rows):
            super().__init__()
            self.w = nn.Parameter(torch.empty(rows, 4))
            for row in self.w.data:
                row.normal_()
            for _ in range(1000):
                nn.init.zeros_(self.w.data[:2])

    few, many = build(lambda: Net(20), seed=0), build(lambda: Net(2000), seed=0)
    assert what(few)["w"].startswith("[0] Normal(mean=0, std=1) as w#0, [1] ")
    assert what(few)["w"].endswith("[0:2] Constant(val=0)")
    assert what(many) == {"w": "captured(normal_)"}
    for model in (few, many):
        assert model.w[:2].eq(0).all()
        assert len(set(model.w[2:, 0].tolist())) == len(model.w) - 2
        assert len(plan_of(model)["w"].writes) <= 1100
    assert torch.equal(many.w, build(lambda: Net(2000), seed=0).w)


# ---- what memory alone knows


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (lambda m: m.w.data.copy_(torch.arange(24.0).view(4, 6)), "copy_"),
        (lambda m: m.w.data.diagonal().fill_(0), "a view of other memory"),
        (lambda m: m.w.detach().numpy().fill(2), "numpy"),
        (lambda m: np.asarray(m.w.detach()).fill(2), "numpy"),
        (lambda m: m.w.data_ptr(), "data_ptr"),
        (lambda m: m.w.untyped_storage().fill_(0), "untyped_storage"),
        (lambda m: torch.from_dlpack(m.w.detach()).fill_(3), "DLPack"),
        (lambda m: torch.utils.dlpack.to_dlpack(m.w.detach()), "DLPack"),
        (lambda m: nn.init.eye_(m.w), "eye"),
        (lambda m: m.w.data.normal_(generator=torch.Generator().manual_seed(1)), "normal_"),
        (lambda m: m.w.data.mul_(m.w.data), "mul_"),
    ],
)
def test_what_is_no_fill_is_captured(statement, reason):
    def run(m):
        with torch.no_grad():
            statement(m)

    model, got = of(lambda m: nn.init.ones_(m.w), run)
    assert got == f"captured({reason})"
    eager = nn.Module()
    eager.w = nn.Parameter(torch.ones(4, 6))
    run(eager)
    assert torch.equal(model.w, eager.w)


def test_memory_that_has_escaped_is_the_truth():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)
            array = self.linear.weight.detach().numpy()
            nn.init.zeros_(self.linear.weight)
            array[0, 0] = 5  # after the last operation that torch sees

    model = build(Net, seed=0)
    assert model.linear.weight.tolist() == [[5, 0], [0, 0]]


def test_a_read_gives_the_values_that_the_tensor_will_have():
    seen = []

    def read(m):
        seen.append(m.w.detach().clone().tolist())
        seen.append(m.w[0, 0].item())

    model, got = of(lambda m: m.w.data.normal_(), read)
    assert seen == [model.w.tolist(), model.w[0, 0].item()]
    assert got == "Normal(mean=0, std=1) as draw 1"  # it was needed before it had a name
    twin, _ = of(lambda m: m.w.data.normal_(), read)
    assert torch.equal(twin.w, model.w)


def test_what_is_printed_has_its_values():
    shown = []

    class Prints(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.empty(3))
            nn.init.constant_(self.w, 4)
            shown.append(repr(self.w.detach()))
            shown.append(f"{self.w[0]:.1f}")

    assert initium.build(Prints).w.tolist() == [4, 4, 4]
    assert shown == ["tensor([4., 4., 4.])", "4.0"]


def test_copies_of_one_drawing_stay_equal():
    encoder = build(
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 8), 3, enable_nested_tensor=False
        ),
        seed=1,
    )
    first, *others = encoder.layers
    for layer in others:
        assert same(state(first), state(layer))
    assert plan_of(encoder)["layers.1.linear1.weight"].what.endswith(" as layers.0.linear1.weight")
    assert not torch.equal(first.linear1.weight[0], first.linear1.weight[1])

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            x = torch.randn(5)
            self.plus, self.minus, self.lower = (
                nn.Parameter(x),
                nn.Parameter(-x),
                nn.Parameter(x.bfloat16()),
            )
            self.rounded, self.wide = nn.Parameter(x.bfloat16().float()), nn.Parameter(x.double())

    pair = build(Pair, seed=2)
    assert torch.equal(pair.minus, -pair.plus)
    assert torch.equal(pair.lower, pair.plus.bfloat16())
    assert torch.equal(pair.rounded, pair.plus.bfloat16().float())
    assert torch.equal(pair.wide, pair.plus.double())


def test_tensors_that_are_no_parameters_have_their_values():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.plain = torch.rand(50) + 3
            self.many = [torch.full((2,), 7.0)]
            self.register_buffer("table", torch.arange(4).float() ** 2, persistent=False)
            self.alias = self.table

    model = build(Net, seed=0, device="meta")
    assert (model.plain >= 3).all()
    assert model.plain.std() > 0.1
    assert model.many[0].tolist() == [7, 7]
    assert model.table.is_meta
    materialize(model)
    assert model.table.tolist() == [0, 1, 4, 9]
    assert model.alias is model.table
    assert "table" not in model.state_dict()


# ---- memory


def test_nothing_is_written_before_the_plan_is_complete():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(300, 300)
            self.linear.weight.data.fill_(1)
            with initium.here.unseen():  # what lies in the memory, as the recorder finds it
                self.found = bool(self.linear.weight.eq(1).all())

    model = build(Net, seed=0)
    assert not model.found
    assert model.linear.weight.eq(1).all()


@pytest.mark.skipif(sys.platform != "linux", reason="address space that is not reserved")
def test_a_model_beyond_the_memory_of_the_machine_can_be_planned():
    model = build(lambda: nn.Linear(2**20, 2**18), seed=0, device="meta")  # 1 TiB
    assert model.weight.is_meta
    assert plan_of(model)["weight"].write.initializer.b == pytest.approx(2**-10)


def test_an_exception_in_the_factory_leaves_nothing():
    kept = nn.Linear(3, 3)
    before = state(kept)
    alive = []

    def failing():
        made = nn.Linear(100, 100)
        alive.append(weakref.ref(made.weight))
        nn.init.zeros_(kept.weight)
        kept.bias.data.numpy()[:] = 3
        raise KeyError("half way")

    rng = torch.get_rng_state()
    with pytest.raises(KeyError, match="half way"):
        build(failing, seed=0)
    gc.collect()
    assert alive[0]() is None
    assert same(state(kept), before)
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.nn.init._no_grad_trunc_normal_.__module__ == "torch.nn.init"
    assert initium.here.HERE.recorder is None
    assert torch.empty(2).fill_(3).tolist() == [3, 3]


def test_what_a_factory_writes_elsewhere_is_written():
    outside = nn.Linear(2, 2)
    plain = torch.zeros(3)

    def factory():
        nn.init.constant_(outside.weight, 4)
        plain[1:].fill_(2)
        return nn.Linear(2, 2)

    build(factory, seed=0)
    assert outside.weight.eq(4).all()
    assert plain.tolist() == [0, 2, 2]


# ---- meta and back


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4, padding_idx=0)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.frozen.to(torch.bfloat16)
        self.register_buffer("angles", 1 / 10 ** torch.arange(0, 1, 0.25), persistent=False)
        packed = torch.randn(10)
        self.low, self.high = nn.Parameter(packed[:4]), nn.Parameter(packed[4:])
        self.window = nn.Parameter(self.low.data[1:3])  # shares memory with another parameter
        self.norm = nn.BatchNorm1d(4)
        self.called = []
        self.head.register_forward_pre_hook(lambda *_: self.called.append(1))
        self.low.tag = "mine"
        self.listed = [self.frozen.weight]


def test_a_model_comes_from_meta_as_it_was():
    wanted, model = build(Everything, seed=5), build(Everything, seed=5, device="meta")
    assert all(t.is_meta for t in state(model).values())
    report = materialize(model)
    assert report.model == "Everything"
    assert same(state(wanted), state(model))
    assert model.head.weight is model.embedding.weight
    assert not model.frozen.weight.requires_grad
    assert model.low.requires_grad
    assert model.low.tag == "mine"
    assert isinstance(model.low, nn.Parameter)
    assert model.listed[0] is model.frozen.weight
    model.head(torch.zeros(1, 4))
    assert model.called == [1]
    model.window.data.fill_(9)
    assert model.low[1:3].eq(9).all()
    assert sorted(model.state_dict()) == sorted(wanted.state_dict())


class Rows(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.w = w


class Folded(nn.Module):
    """There is more of its tensors than of their memory."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.randn(3, 1).expand(3, 4))
        self.one = nn.Parameter(torch.zeros(1).expand(4))
        self.register_buffer("windows", torch.randn(10).unfold(0, 4, 1))
        self.line = nn.Linear(2, 2)
        self.register_buffer("wide", torch.randn(3).expand(1, 3))  # is its memory


@pytest.mark.parametrize("how", [dict(device="meta"), dict(dtype=torch.bfloat16)], ids=str)
def test_what_expand_makes_is_written_where_it_lies(how, tmp_path):
    wanted, model = build(Folded, seed=0), build(Folded, seed=0, **how)
    if "device" in how:
        assert all(t.is_meta for t in state(model).values())
        materialize(model)
    assert same(state(model), {name: t.to(model.rows.dtype) for name, t in state(wanted).items()})
    assert model.rows.stride() == (1, 0) and model.windows.stride() == (1, 1)
    model.windows[0, 1] = 9
    assert model.windows[1, 0] == 9
    assert len(model.rows.unique()) == 3
    plan_of(wanted).save(tmp_path / "plan.json")
    other = Folded()
    initium.apply(initium.Plan.load(tmp_path / "plan.json"), other)
    assert same(state(other), state(wanted))


def test_tensors_that_share_what_one_of_them_expands():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Parameter(torch.randn(3, 1))
            self.register_buffer("rows", self.base.detach().expand(3, 4))

    wanted, model = build(Net, seed=0), build(Net, seed=0, device="meta")
    materialize(model)
    assert same(state(model), state(wanted))
    model.base.data.zero_()
    assert not model.rows.any()


def test_elements_in_one_place_cannot_have_two_values():
    model = Rows(nn.Parameter(torch.zeros(3, 1).expand(3, 4)))
    plan = plan_of(build(lambda: Rows(nn.Parameter(torch.randn(3, 4).cumsum(0))), seed=0))
    with pytest.raises(InitError, match=r"^w: several elements .* but their values differ"):
        initium.apply(plan, model)
    assert not model.w.any()


def test_materialize_with_another_seed_or_plan(tmp_path):
    def make():
        return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))

    model = build(make, seed=1, device="meta")
    plan_of(model).save(tmp_path / "plan.json")
    materialize(model, seed=2)
    assert same(state(model), state(build(make, seed=2)))
    assert plan_of(model).seed == 2
    loaded = initium.Plan.load(tmp_path / "plan.json")
    with torch.device("meta"):
        other = make()
    materialize(other, plan=loaded)
    assert same(state(other), state(build(make, seed=1)))


def test_keep_has_nothing_to_keep_on_meta():
    model = nn.Linear(2, 2, device="meta")
    rules = [dict(type="Keep", name="weight"), dict(type="Constant", name="bias", val=1)]
    with pytest.raises(
        initium.InitError, match=r"the plan says nothing of 1 tensors on meta.*: weight"
    ):
        initium.materialize(model, plan=initium.plan(model, rules))
    assert model.weight.is_meta


def test_materialize_refuses_what_would_be_uninitialised_memory():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with pytest.raises(InitError, match=r"there is no plan of this Sequential: initium\.build"):
        materialize(model)
    plan = initium.plan(model, dict(type="Normal", layer=["Linear", "BatchNorm1d"]), seed=0)
    with pytest.raises(
        InitError, match=r"nothing of 3 tensors on meta, .*: 1.running_mean, 1.running_var"
    ):
        materialize(model, plan=plan)
    assert all(t.is_meta for t in state(model).values())
    with pytest.raises(
        InitError, match=r"0.weight: the plan is for the shape \[4, 3\], but it is \[4, 2\]"
    ):
        materialize(nn.Sequential(nn.Linear(2, 4, device="meta")), plan=build_plan())


def build_plan():
    return plan_of(build(lambda: nn.Sequential(nn.Linear(3, 4)), seed=0))


def test_the_dtype_is_what_to_would_make_of_it():
    def make():
        return nn.Sequential(nn.Linear(30, 40), nn.BatchNorm1d(40))

    wanted = build(make, seed=3, dtype=torch.bfloat16)
    rounded = build(make, seed=3).to(torch.bfloat16)
    assert [t.dtype for t in state(wanted).values()] == [t.dtype for t in state(rounded).values()]
    off = wanted[0].weight != rounded[0].weight  # where rounding would leave the bounds
    assert off.sum() <= 3
    assert (wanted[0].weight.abs().double() <= 1 / math.sqrt(30)).all()
    assert same(state(build(make, seed=3, dtype=torch.bfloat16, device="cpu")), state(wanted))
    meta = build(make, seed=3, dtype=torch.bfloat16, device="meta")
    materialize(meta)
    assert same(state(meta), state(wanted))
    assert meta[1].num_batches_tracked.dtype == torch.int64


def test_an_optimizer_made_on_meta_goes_on_with_the_model():
    model = build(lambda: nn.Linear(3, 1), seed=0, device="meta")
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    materialize(model)
    before = model.weight.detach().clone()
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    assert torch.equal(model.weight.detach(), before - 2)


# ---- randomness


def test_other_random_operations_draw_from_the_recordings_own_seed():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("order", torch.randperm(20))
            self.register_buffer("coins", torch.empty(20).bernoulli_(0.5))
            self.register_buffer("chosen", torch.multinomial(torch.ones(20), 5))
            self.register_buffer("integers", torch.randint(3, 1000, (20,)))
            self.register_buffer("shaped", torch.randint_like(self.coins, 1000))
            self.register_buffer("dropped", nn.functional.dropout(torch.ones(20)))
            self.register_buffer("gaussian", torch.normal(torch.zeros(20), 1.0))
            # knows no generator but the default one
            self.register_buffer("native", torch.native_dropout(torch.ones(20), 0.5, True)[0])
            self.python = [torch.rand(()).item(), torch.randn(3).tolist()]

    one = build(Net, seed=1)
    torch.rand(7)
    before = torch.get_rng_state()
    two, other = build(Net, seed=1), build(Net, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert same(state(one), state(two))
    assert one.python == two.python != other.python
    for name, value in state(one).items():
        assert not torch.equal(value, state(other)[name]), name
    assert one.order.sort().values.tolist() == list(range(20))
    assert {0.0, 2.0} == set(one.dropped.tolist())


def test_without_a_seed_torch_makes_the_program_repeatable():
    torch.manual_seed(3)
    one, two = build(lambda: nn.Linear(2, 2)), build(lambda: nn.Linear(2, 2))
    torch.manual_seed(3)
    assert torch.equal(build(lambda: nn.Linear(2, 2)).weight, one.weight)
    assert not torch.equal(one.weight, two.weight)
    assert isinstance(plan_of(one).seed, int)


def test_a_value_depends_on_seed_and_name_alone():
    class Net(nn.Module):
        def __init__(self, turned):
            super().__init__()
            for name in ("b", "a") if turned else ("a", "b"):
                setattr(self, name, nn.Linear(5, 5))
            if turned:
                nn.init.normal_(torch.empty(100))
                self.more = nn.Linear(2, 2)

    one, two = build(lambda: Net(False), seed=1), build(lambda: Net(True), seed=1)
    assert torch.equal(one.a.weight, two.a.weight)
    assert torch.equal(one.b.bias, two.b.bias)
    wanted = initium.init.uniform_  # the stream of the name, whoever draws from it
    model = nn.Module()
    model.a = nn.Linear(5, 5)
    bound = plan_of(one)["a.weight"].write.initializer.b
    initium.initialize(model, dict(type="Uniform", a=-bound, b=bound, name="a.weight"), seed=1)
    assert torch.equal(model.a.weight, one.a.weight)
    assert wanted


# ---- around it


def test_other_threads_are_not_affected():
    inside, done = threading.Event(), threading.Event()
    found = []

    def work():
        inside.wait(30)
        model = nn.Linear(50, 50)
        nn.init.trunc_normal_(model.weight, std=0.1, a=-0.2, b=0.2)
        found.append((model.weight.detach().clone(), torch.ones(3).sum().item()))
        done.set()

    def factory():
        model = nn.Linear(4, 4)
        inside.set()
        assert done.wait(30)
        return model

    thread = threading.Thread(target=work)
    thread.start()
    build(factory, seed=0)
    thread.join()
    weight, three = found[0]
    assert three == 3
    assert 0.05 < weight.std() < 0.1
    assert weight.abs().max() <= 0.2


def test_two_threads_may_record_at_once():
    barrier = threading.Barrier(2)
    found = {}

    def factory():
        barrier.wait(30)
        model = nn.Sequential(*(nn.Linear(9, 9) for _ in range(20)))
        for layer in model:
            nn.init.trunc_normal_(layer.weight)
        barrier.wait(30)
        return model

    def work(seed):
        found[seed] = build(factory, seed=seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    barrier = threading.Barrier(1)
    for seed in (1, 2):
        assert same(state(found[seed]), state(build(factory, seed=seed)))


def test_a_build_within_a_build():
    class Outer(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.before = nn.Linear(3, 3)
            self.inner = build(lambda: nn.Linear(3, 3), seed=seed)
            nn.init.ones_(self.before.weight)
            self.inner.bias.data.fill_(2)
            self.inner.weight.data[0].fill_(9)
            self.after = nn.Linear(3, 3)

    model = build(lambda: Outer(7), seed=1)
    assert torch.equal(model.inner.weight[1:], build(lambda: nn.Linear(3, 3), seed=7).weight[1:])
    assert model.inner.weight[0].eq(9).all()
    assert model.inner.bias.eq(2).all()
    assert model.before.weight.eq(1).all()
    assert torch.equal(model.after.weight, build(lambda: Outer(8), seed=1).after.weight)
    meta = build(lambda: Outer(7), seed=1, device="meta")
    materialize(meta)
    assert same(state(meta), state(model))
    once, twice = (build(lambda: Outer(None), seed=1) for _ in range(2))
    assert same(state(once), state(twice))


def test_rules_within_a_factory_are_noted_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
            initium.initialize(self.net, dict(type="Normal", std=0.1, bias=1, layer="Linear"))
            initium.xavier_init(self.net[0], bias=2)
            initium.init.constant_(self.net[1].weight, 3)

    model = build(Net, seed=4)
    assert what(model) == {
        "net.0.weight": "Xavier(gain=1, distribution='normal')",
        "net.0.bias": "Constant(val=2)",
        "net.1.weight": "Constant(val=3)",
        "net.1.bias": "Constant(val=1)",
    }
    by_rule = nn.Module()
    by_rule.net = nn.Sequential(nn.Linear(3, 4))
    initium.initialize(by_rule, dict(type="Xavier", name="net.0.weight"), seed=4)
    assert torch.equal(by_rule.net[0].weight, model.net[0].weight)


def test_initium_init_is_noted_like_torch_nn_init():
    def make(init):
        def statement(m):
            init.normal_(m.w, std=0.3)

        return of(statement)[0].w

    assert torch.equal(make(initium.init), make(nn.init))
    keyed, _ = of(lambda m: initium.init.normal_(m.w, generator=torch.Generator().manual_seed(3)))
    free = initium.init.normal_(torch.empty(4, 6), generator=torch.Generator().manual_seed(3))
    assert torch.equal(keyed.w, free)


def test_exact_keeps_the_order_of_all_random_operations():
    def make():
        model = nn.Linear(4, 6)
        model.order = nn.Parameter(torch.randperm(50).float())  # reads no tensor
        nn.init.normal_(model.bias)
        model.mask = nn.Parameter(torch.empty(9).bernoulli_(0.5))
        return model

    torch.manual_seed(1)
    eager = make()
    torch.manual_seed(1)
    assert same(state(eager), state(build(make, exact=True)))


def test_what_is_captured_does_not_depend_on_threads():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(nn.init.orthogonal_(torch.empty(300, 300)))
            self.total = nn.Parameter(torch.randn(1 << 20).exp().sum())

    threads = torch.get_num_threads()
    found = []
    for n in (1, 2):
        torch.set_num_threads(n)
        found.append(state(build(Net, seed=0)))
        assert torch.get_num_threads() == n
    torch.set_num_threads(threads)
    assert same(*found)


def test_an_inner_recording_sees_and_changes_what_the_outer_has_noted():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)
            nn.init.constant_(self.linear.weight, 2)

            def inner():
                self.seen = self.linear.weight.sum().item()
                self.linear.weight.data[0].mul_(5)
                nn.init.constant_(self.linear.bias, 4)
                return nn.Linear(2, 2)

            self.inner = build(inner, seed=1)
            self.linear.weight.data[2].fill_(1)

    model = build(Outer, seed=0)
    assert model.seen == 18
    assert model.linear.weight[:, 0].tolist() == [10, 2, 1]
    assert model.linear.bias.eq(4).all()


def test_exact_and_meta_exclude_each_other():
    with pytest.raises(
        InitError, match="exact=True runs everything as the constructor does, which needs memory"
    ):
        build(lambda: nn.Linear(2, 2), exact=True, device="meta")
    with pytest.raises(TypeError, match=r"the factory must return a torch\.nn\.Module, but got 3"):
        build(lambda: 3)
    with pytest.raises(
        TypeError, match=r"factory must be .* but got Linear; for a model that is there"
    ):
        build(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="a seed must be"):
        build(lambda: nn.Linear(2, 2), seed=1.5)


def linears():
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(dtype="float32"), "dtype must be a torch.dtype of floating point, .* got 'float32'"),
        (dict(dtype=torch.int32), "floating point, .* but got torch.int32"),
        (dict(dtype=torch.complex64), "floating point, .* but got torch.complex64"),
        (dict(device="nowhere"), "device 'nowhere' cannot be used here: Expected one of"),
        (dict(device=[1]), r"device \[1\] cannot be used here"),
        (dict(device="xpu"), "device 'xpu' cannot be used here"),
        (dict(init_cfg=dict(type="Norm")), "'Norm' is not in the weight initializer registry"),
        (dict(init_cfg=dict(type="Normal", layer="Conv"), strict=True), "strict mode; nothing"),
        (dict(cover=1), "cover must be None or 'all', but got 1"),
    ],
    ids=str,
)
def test_bad_arguments_leave_models_and_the_generator_as_they_were(arguments, message, exact):
    model = linears()
    before, state = model[0].weight.detach().clone(), torch.get_rng_state()

    def make():
        nn.init.ones_(model[0].weight)
        nn.init.normal_(model[1].weight)
        return model

    with pytest.raises(InitError, match=message):
        build(make, exact=exact, **arguments)
    assert torch.equal(model[0].weight, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_others_drew_meanwhile_stays_drawn():
    others = torch.Generator().manual_seed(1)

    def fails():
        torch.set_rng_state(others.get_state())  # as another thread would have moved it
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        build(fails)
    assert torch.equal(torch.get_rng_state(), others.get_state())


def test_a_seed_means_nothing_where_torch_draws():
    with pytest.raises(InitError, match=r"where seed=3 has no effect; call torch.manual_seed"):
        build(linears, exact=True, seed=3)
    with pytest.raises(InitError, match="has no effect"), recording(exact=True, seed=3):
        pass


def test_a_name_comes_within_the_recording():
    with recording(seed=1) as rec:
        model = linears()
    with pytest.raises(InitError, match="the recording has ended: name models within it"):
        rec.name(model)


@pytest.mark.parametrize(
    ("device", "message"),
    [("meta", "device='meta' has no memory"), ("nowhere", "device 'nowhere' cannot be used here")],
)
def test_a_model_is_not_materialized_anywhere(device, message):
    model = build(linears, seed=0, device="meta")
    with pytest.raises(InitError, match=message):
        materialize(model, device=device)
    assert all(p.is_meta for p in model.parameters())


def test_exact_with_rules_on_top_and_a_dtype():
    torch.manual_seed(8)
    eager = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).bfloat16()
    torch.manual_seed(8)
    model = build(
        lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)),
        exact=True, dtype=torch.bfloat16, init_cfg=dict(type="Constant", val=1, name="1.bias"),
    )  # fmt: skip
    assert torch.equal(model[0].weight, eager[0].weight)
    assert torch.equal(model[1].weight, eager[1].weight)
    assert model[1].bias.eq(1).all()


# ---- what dispatch does not say


def holding(**tensors):
    """A constructor of a module with these parameters, made anew each time."""

    def make():
        model = nn.Module()
        for name, tensor in {name: value() for name, value in tensors.items()}.items():
            model.register_parameter(name, nn.Parameter(tensor, tensor.requires_grad))
        return model

    return make


def same_in_every_way(make):
    """Eager and exact agree; so do two builds, and one on meta that is materialized."""
    torch.manual_seed(4)
    eager, after = make(), torch.get_rng_state()
    torch.manual_seed(4)
    exact = build(make, exact=True)
    assert torch.equal(torch.get_rng_state(), after)
    one, two, three = build(make, seed=0), build(make, seed=0), build(make, seed=0, device="meta")
    materialize(three)
    for name, value in eager.state_dict().items():
        assert torch.equal(exact.state_dict()[name], value), name
        for other in (two, three):
            assert torch.equal(one.state_dict()[name], other.state_dict()[name]), name
    assert initium.verify(one) == initium.verify(three)
    return one


@pytest.mark.parametrize(
    "listed",
    [
        lambda: torch.tensor([torch.randn(()) for _ in range(9)]),
        lambda: torch.tensor([[torch.ones(()), torch.full((), 7.0)], [1.0, torch.rand(())]]),
        lambda: torch.as_tensor([torch.randn(()), torch.randn(())]),
        lambda: torch.zeros(2).new_tensor([torch.randn(()), torch.randn(())]),
    ],
)
def test_tensors_in_a_list_are_read(listed):
    same_in_every_way(holding(w=listed))


@pytest.mark.parametrize(
    "view",
    [
        lambda: torch.view_as_complex(torch.randn(5, 2)),
        lambda: torch.view_as_real(torch.zeros(5, dtype=torch.complex64)).normal_(),
        lambda: torch.randn(4, 2).view(torch.float64),
        lambda: torch.randn(4, 2).view(torch.int16),
    ],
)
def test_elements_of_another_size_are_written_to_the_last(view):
    model = same_in_every_way(holding(w=view))
    numbers = torch.view_as_real(model.w) if model.w.is_complex() else model.w
    assert numbers.dtype == torch.int16 or numbers.ne(0).all()


@pytest.mark.parametrize(
    "listed",
    [
        lambda: torch.Tensor([torch.ones(()), torch.full((), 7.0) * 2]),
        lambda: torch.FloatTensor([torch.full((3,), 5.0).mul_(3)[1], 4.0]),
        lambda: torch.Tensor(list(torch.linspace(0, 1, 5))),
    ],
)
def test_numbers_are_there_for_those_who_read_them_unseen(listed):
    torch.full((100,), 9.0)  # memory that may be given out again
    assert same_in_every_way(holding(w=listed)).w.equal(listed())


def written(w, *steps):
    for step in steps:
        step(w)
    return w


def refused(w, step):
    """What a constructor does where torch refuses its first try."""
    with contextlib.suppress(RuntimeError):
        step(w)
        return w
    return w.fill_(7)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(3, dtype=torch.cfloat) * 2,
        lambda: torch.ones(3, dtype=torch.cfloat).add_(1),
        lambda: torch.ones(3).to(torch.cfloat),
        lambda: torch.zeros(3).cfloat() + 1,
        lambda: torch.full((2,), 1 + 2j),
        lambda: torch.full((2,), 1 + 2j, dtype=torch.complex128),
        lambda: torch.zeros(3).apply_(lambda x: x + 1),
        lambda: torch.zeros(3).map_(torch.full((3,), 2.0), lambda x, y: x + y),
        lambda: torch.Tensor([torch.full((1,), 4.0), 2 * torch.ones(1)]),
        lambda: refused(torch.ones(3, dtype=torch.int64), lambda w: w.div_(2)),
        lambda: refused(torch.ones(3, dtype=torch.int64), lambda w: w.mul_(1.5)),
        lambda: refused(torch.zeros(3), lambda w: w.copy_(torch.ones(1, 1, 1))),
        lambda: written(torch.ones(3, dtype=torch.int64), lambda w: w.mul_(3).add_(1)),
    ],
)
def test_constants_are_what_eager_execution_makes_of_them(make):
    torch.full((1000,), 9.0)  # memory that may be given out again
    model = same_in_every_way(
        lambda: nn.ParameterDict(
            dict(w=nn.Parameter(w := make(), w.is_floating_point() or w.is_complex()))
        )
    )
    assert torch.equal(model.w.detach(), make())


def test_complex_constants_are_verified_to_the_imaginary_part():
    model = nn.ParameterDict(dict(w=torch.ones(3, dtype=torch.cfloat)))
    initium.initialize(model, dict(type="Constant", val=1, name="w"))
    initium.verify(model)
    with torch.no_grad():
        model.w.add_(1j)
    with pytest.raises(InitError, match=r"w: not every value is 1"):
        initium.verify(model)


@pytest.mark.parametrize("draw", [torch.randn, lambda *_, **g: torch.empty(3).normal_(**g)])
def test_the_default_generator_by_its_name_is_the_default(draw):
    make = holding(w=lambda: draw(3, generator=torch.default_generator))
    before = torch.get_rng_state()
    assert what(build(make, seed=1))["w"].startswith("Normal(mean=0")
    assert torch.equal(before, torch.get_rng_state())
    same_in_every_way(make)


def test_statistics_that_are_updated_by_hand_are_captured():
    def make():
        model = nn.BatchNorm1d(3)
        torch.batch_norm_update_stats(torch.randn(4, 3), model.running_mean, model.running_var, 0.1)
        return model

    assert same_in_every_way(make).running_var.ne(1).all()


class Kind(torch.Tensor):
    """Tensors of a class that changes nothing."""


class Marked(nn.Parameter):
    """Parameters of a class of their own."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(3, dtype=torch.cfloat).conj() * 2,
        lambda: torch.ones(3, dtype=torch.cfloat).conj().imag + 1,
        lambda: written(torch.zeros(3, dtype=torch.cfloat), lambda z: z.conj().imag.fill_(3)),
        lambda: (torch.ones(3).as_subclass(Kind) * 2).as_subclass(torch.Tensor),
        lambda: written(torch.zeros(3), lambda w: w.as_subclass(Kind).add_(5)),
        lambda: (TwoTensor(torch.ones(3), torch.full((3,), 2.0)) * 2).a,
        lambda: torch.full((4, 4), 2.0).to_sparse().to_dense() * 3,
    ],
)
def test_memory_is_known_behind_tensors_of_every_kind(make):
    torch.full((1000,), 9.0)  # memory that may be given out again
    model = same_in_every_way(lambda: nn.ParameterDict(dict(w=make())))
    assert torch.equal(model.w.detach(), make())


def test_parameters_of_a_class_of_their_own_are_in_the_plan():
    def make():
        model = nn.Module()
        model.w, model.v, model.u = (Marked(torch.empty(30)) for _ in range(3))
        nn.init.constant_(model.w, 3)
        nn.init.normal_(model.v)
        model.u.data.fill_(1).mul_(2)
        return model

    model = same_in_every_way(make)
    assert what(model) == {
        "w": "Constant(val=3)",
        "v": "Normal(mean=0, std=1)",
        "u": "Constant(val=2.0)",
    }
    assert all(type(p) is Marked for p in build(make, device="meta").parameters())


def by_inverse(tensor, mean, std, a, b):
    """A truncated normal as many libraries write it."""
    low, high = (math.erf((x - mean) / std / math.sqrt(2)) for x in (a, b))
    tensor.uniform_((1 + low) - 1, (1 + high) - 1).erfinv_()
    return tensor.mul_(std * math.sqrt(2)).add_(mean).clamp_(min=a, max=b)


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        (lambda w: by_inverse(w, 0, 0.02, -2, 2), "TruncNormal(mean=0, std=0.02, a=-2, b=2, "),
        (lambda w: by_inverse(w, 1, 0.3, 0.9, 2), "TruncNormal(mean=1, std=0.3, a=0.9, b=2, "),
        (lambda w: by_inverse(w, 0, 1.0, -2, 2).mul_(0.5).add_(1), "TruncNormal(mean=1.0, std=0.5, a=0.0, b=2.0, "),
        (lambda w: by_inverse(w, 0, 0.02, -2, 2).mul_(-1), "TruncNormal(mean=0, std=0.02, a=-2, b=2, units='absolute').mul"),
        # something else
        (lambda w: w.uniform_(-0.5, 0.5).erfinv_().mul_(1.5).add_(0).clamp_(-2, 2), "Uniform(a=-0.5, b=0.5).erfinv().mul(1.5)"),
        (lambda w: w.uniform_(-0.5, 0.5).erfinv_().mul_(1.5).add_(0).clamp_(max=2), "Uniform(a=-0.5, b=0.5).erfinv().mul(1.5)"),
    ],
)  # fmt: skip
def test_truncated_normals_by_the_inverse_are_recognised(steps, line):
    make = holding(w=lambda: steps(torch.empty(200, 50)))
    model = same_in_every_way(make)
    assert what(model)["w"].startswith(line)
    eager = make().w
    assert math.isclose(model.w.mean(), eager.mean(), abs_tol=6 * eager.std() / 100)
    assert math.isclose(model.w.std(), eager.std(), rel_tol=0.05)


def test_what_torch_draws_is_drawn_as_the_code_says():
    class Net(initium.BaseModule):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(200, 50))

        def init_weights(self):
            with torch.no_grad():
                by_inverse(self.w, 0, 0.02, -0.04, 0.04)

    model = Net()
    model.init_weights(seed=3, rng="torch")
    drawn = torch.empty(200, 50).uniform_(-1, 1, generator=torch.Generator().manual_seed(3))
    assert plan_of(model)["w"].what.startswith("Uniform")
    assert drawn.mul_(math.erf(math.sqrt(2))).erfinv_().mul_(0.02 * math.sqrt(2)).allclose(model.w)


@pytest.mark.parametrize("how", [dict(device="meta"), dict(dtype=torch.float64)])
def test_recurrent_layers_keep_their_parameters_and_what_they_compute_with(how):
    def agent():
        model = nn.Module()
        model.net = nn.LSTM(2, 2, num_layers=2)
        model.optimizer = torch.optim.SGD(model.net.parameters(), 1.0)
        return model

    model = build(agent, seed=1, **how)
    if "device" in how:
        materialize(model)
    for held, p, flat in zip(
        model.optimizer.param_groups[0]["params"],
        model.net.parameters(),
        model.net._flat_weights,
        strict=True,
    ):
        assert held is p is flat
    x = torch.ones(3, 1, 2, dtype=model.net.weight_ih_l0.dtype)
    before = model.net(x)[0]
    assert before.isfinite().all()
    before.sum().backward()
    model.optimizer.step()
    assert not torch.equal(model.net(x)[0], before)


def test_a_tensor_that_cannot_stay_the_same_object_is_named():
    def make():
        model = nn.Linear(2, 2)
        model.reference = weakref.ref(model.weight)
        return model

    with pytest.warns(
        InitWarning, match=r"^these tensors are new objects .*: Linear\.weight\. What"
    ):
        model = build(make, seed=1, device="meta")
    materialize(model)
    assert model.weight.equal(build(lambda: nn.Linear(2, 2), seed=1).weight)


def test_a_model_has_its_values_where_that_warning_is_an_error():
    model = build(lambda: nn.Linear(2, 2), seed=1, device="meta")
    reference = weakref.ref(model.weight)
    with pytest.raises(InitWarning, match="these tensors are new objects"):  # as all are here
        materialize(model)
    assert model.weight is not reference()
    assert model.weight.equal(build(lambda: nn.Linear(2, 2), seed=1).weight)


def test_attributes_beside_a_part_that_the_model_has():
    def make():
        model = nn.Module()
        model.x = torch.full((1000,), 2.0) * 2
        model.b = nn.Buffer(model.x[:2])
        return model

    torch.full((1000,), 9.0)  # memory that may be given out again
    model = build(make, seed=1)
    assert model.x.eq(4).all()
    model.b.add_(1)
    assert model.x[:2].eq(5).all()


def test_attributes_that_shared_memory_with_a_model_on_meta_have_values():
    def make():
        model = nn.Linear(30, 30)
        model.view, model.rest = model.weight.data[0], torch.full((30,), 3.0)
        return model

    model = build(make, seed=1, device="meta")
    assert model.view.abs().max() <= 30**-0.5
    assert model.view.std() > 0.3 * 30**-0.5
    assert model.rest.eq(3).all()


def test_a_number_within_random_values_does_not_name_them():
    def make():
        w = torch.randn(3, 4)
        w[0, 1] = 5.0
        return nn.ParameterDict(dict(w=w))

    assert what(build(make, seed=0))["w"] == "Normal(mean=0, std=1), [0, 1] Constant(val=5.0)"


def test_what_a_constructor_unpickles_is_captured():
    file = io.BytesIO()
    torch.save(torch.arange(3.0), file)

    def load():
        file.seek(0)
        return torch.load(file)

    model = same_in_every_way(holding(w=load))
    assert what(model)["w"] == "captured(made outside of the recording)"


def test_user_code_writes_to_complex_tensors_as_real_ones():
    class Net(initium.BaseModule):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(4, 3, dtype=torch.complex64))

        def init_weights(self):
            torch.view_as_real(self.w.data).normal_()

    one, two = Net(), Net()
    one.init_weights(seed=1)
    two.init_weights(seed=1)
    assert torch.view_as_real(one.w).ne(0).all()
    assert torch.equal(one.w, two.w)


@pytest.mark.parametrize("lazy", [False, True])
def test_batch_statistics_move_in_a_forward_of_the_constructor(lazy):
    def make():
        norm = nn.LazyBatchNorm1d() if lazy else nn.BatchNorm1d(3)
        model = nn.Sequential(nn.Linear(3, 3), norm)
        model(torch.randn(8, 3))
        return model

    model = same_in_every_way(make)
    assert model[1].running_mean.ne(0).all()
    assert model[1].running_var.ne(1).all()


def test_statistics_that_are_only_read_stay_constants():
    def make():
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
        model(torch.randn(8, 3))
        return model

    assert what(build(make, seed=0))["1.running_var"] == "Constant(val=1)"


def test_a_tensor_and_a_view_of_it_keep_their_memory_in_common():
    def make():
        model, w = nn.Module(), torch.randn(6)
        model.whole, model.rest = nn.Parameter(w), nn.Buffer(torch.randn(3))
        model.register_buffer("part", w[2:4])
        w.add_(1)
        return model

    model = same_in_every_way(make)
    assert torch.equal(model.part, model.whole[2:4])
    assert what(model)["rest"] == "Normal(mean=0, std=1)"


def test_neighbours_in_one_memory_keep_their_own_streams():
    def make():
        model, w = nn.Module(), torch.randn(6, 4)
        model.left, model.right = nn.Parameter(w[:, :1]), nn.Parameter(w[:, 1:])
        return model

    assert what(build(make, seed=0))["right"] == "Normal(mean=0, std=1)"


@pytest.mark.parametrize(
    "how",
    ["manual_seed", "fork_rng", "states", "default_generator", "its state", "legacy", "numbers"],
)
def test_exact_draws_before_the_generator_is_moved(how):
    def make():
        model, state = nn.Linear(3, 3), torch.get_rng_state()
        model.extra = nn.Linear(2, 2)
        own = torch.default_generator.get_state()
        if how == "manual_seed":
            torch.manual_seed(3)
        elif how == "states":
            torch.set_rng_state(state)
        elif how == "default_generator":
            torch.default_generator.manual_seed(5)
        elif how == "its state":
            torch.default_generator.set_state(own)
        elif how == "legacy":
            model.w = nn.Parameter(torch.Tensor([torch.randn(()), torch.rand(())]))
        elif how == "numbers":
            model.w = nn.Parameter(torch.full((int(torch.randint(1, 9, ())),), 1.0))
        else:
            with torch.random.fork_rng(devices=[]):
                torch.random.manual_seed(1)
                model.forked = nn.Linear(2, 2)
        model.last = nn.Linear(2, 2)
        return model

    torch.manual_seed(4)
    eager, after = make(), torch.get_rng_state()
    torch.manual_seed(4)
    exact = build(make, exact=True)
    assert torch.equal(torch.get_rng_state(), after)
    for name, value in eager.state_dict().items():
        assert torch.equal(exact.state_dict()[name], value), name


def test_exact_in_inference_mode_and_with_functions_of_ours():
    def make():
        model = nn.Linear(3, 3)
        with torch.inference_mode():
            w = torch.randn(4)
        model.extra = nn.Parameter(w.clone())
        initium.init.normal_(model.weight)
        initium.init.orthogonal_(model.weight)
        return model

    torch.manual_seed(4)
    eager = make()
    torch.manual_seed(4)
    exact = build(make, exact=True)
    for name, value in eager.state_dict().items():
        assert torch.equal(exact.state_dict()[name], value), name


# ---- rules over constructors


def test_rules_beat_the_constructor_and_keep_leaves_it():
    def make():
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    rules = [dict(type="Normal", std=0.1, bias=3, layer="Linear"), dict(type="Keep", name="2.*")]
    model = build(make, seed=1, init_cfg=rules)
    plain = build(make, seed=1)
    assert what(model)["0.weight"] == "Normal(mean=0, std=0.1)"
    assert what(model)["2.bias"] == "Keep(): Uniform(a=-0.5, b=0.5)"
    assert torch.equal(model[2].weight, plain[2].weight)
    assert torch.equal(model[2].bias, plain[2].bias)
    assert model[0].bias.eq(3).all()
    text = plan_of(model).explain("2.weight").splitlines()
    assert "constructor of Linear, in" in text[1]
    assert text[1].endswith("wins: the last declared write, later beats earlier; w ~ U[a, b)")
    assert "beaten by init_cfg of Sequential, rule 2" in text[2]
    assert text[3].endswith("keeps what was there before the rules")
    assert plan_of(plain).diff(plan_of(model)).startswith("- 0.weight | 4×3 | Uniform")


def test_a_base_module_that_is_built_has_what_it_declares():
    class Head(initium.BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.linear, self.own = nn.Linear(2, 2), nn.Linear(2, 2)

        def init_weights(self):
            super().init_weights()
            nn.init.normal_(self.own.weight, std=9)

    def make():
        return initium.Sequential(
            nn.Linear(2, 2), Head(dict(type="Constant", val=2, layer="Linear")),
            init_cfg=dict(type="Constant", val=1, layer="Linear"),
        )  # fmt: skip

    model = build(make, seed=1, init_cfg=dict(type="Uniform", layer="Linear", name="**.bias"))
    assert what(model)["0.weight"] == "Constant(val=1)"
    assert what(model)["1.linear.weight"] == "Constant(val=2)"
    assert what(model)["1.own.weight"] == "Normal(mean=0.0, std=9.0)"
    assert model.is_init
    assert model[1].is_init
    meta = build(
        make, seed=1, init_cfg=dict(type="Uniform", layer="Linear", name="**.bias"), device="meta"
    )
    materialize(meta)
    assert same(state(model), state(meta))


# ---- layers that need care


def test_parametrizations():
    def make():
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
        parametrizations.weight_norm(model[0])
        nn.init.normal_(model[1].weight)
        parametrizations.orthogonal(model[1])
        model[0].weight = torch.ones(4, 3)  # goes through right_inverse
        return model

    model = build(make, seed=1)
    assert torch.allclose(model[0].weight, torch.ones(4, 3))
    assert torch.allclose(model[1].weight @ model[1].weight.T, torch.eye(4), atol=1e-5)
    meta = build(make, seed=1, device="meta")
    materialize(meta)
    assert same(state(model), state(meta))


def test_a_write_to_a_computed_weight_is_reported():
    def make():
        model = parametrizations.weight_norm(nn.Linear(3, 4))
        nn.init.zeros_(model.weight)  # lost: the weight is computed anew each time
        return model

    with pytest.warns(
        InitWarning, match=r"weight of a ParametrizedLinear is computed .*test_record.py:\d+ writes"
    ):
        build(make, seed=1)
    with pytest.raises(InitError, match=r"assign to it instead \(module.weight = tensor\)"):
        build(make, seed=1, strict=True)


def test_lazy_modules():
    model = build(lambda: nn.Sequential(nn.LazyLinear(4), nn.ReLU()), seed=0)
    assert nn.parameter.is_lazy(model[0].weight)

    def ran():
        model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
        model(torch.ones(5, 3))
        return model

    model, twin = build(ran, seed=0), build(ran, seed=0)
    assert model[0].weight.shape == (4, 3)
    assert same(state(model), state(twin))
    assert 0.1 < model[0].weight.std() < 0.6


def test_scripted_and_compiled_modules_run_as_they_are():
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = torch.jit.script(nn.Linear(2, 2))

    def make():
        model = nn.Sequential(torch.compile(nn.Linear(3, 3)), copy.deepcopy(scripted))
        nn.init.constant_(model[1].weight, 2)
        return model

    model = build(make, seed=0)
    assert model[1].weight.eq(2).all()
    assert what(model)["0._orig_mod.weight"].startswith("Uniform")
    assert torch.equal(model[0].weight, build(make, seed=0)[0].weight)

    def calls():
        inner = nn.Linear(3, 3)
        compiled = torch.compile(inner, backend="eager")
        inner.scale = float(compiled(torch.ones(1, 3)).detach().sum())
        return inner

    model = build(calls, seed=0)
    assert model.scale == pytest.approx(float(model(torch.ones(1, 3)).detach().sum()), rel=1e-5)


def test_grad_mode_is_the_users():
    def without_no_grad():
        model = nn.Linear(2, 2)
        model.weight.fill_(0)
        return model

    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        build(without_no_grad, seed=0)


def test_meta_devices_within_the_factory():
    def make():
        with torch.device("meta"):
            model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        nn.init.normal_(model[0].weight, std=0.5)
        return model

    model = build(make, seed=2)
    assert model[0].weight.is_meta
    materialize(model)
    assert what(model)["0.weight"] == "Normal(mean=0.0, std=0.5)"
    assert torch.equal(model[1].weight, torch.ones(4))


# ---- recording


def test_recording_names_several_models():
    with recording(seed=1) as rec:
        one, two = nn.Linear(3, 3), nn.Linear(3, 3)
        target = copy.deepcopy(one)
        loose = torch.randn(10)
        rec.name(one, "actor"), rec.name(two, "critic"), rec.name(target, "target")
    assert plan_of(one).seed == (1, "actor")
    assert torch.equal(target.weight, one.weight)
    assert not torch.equal(two.weight, one.weight)
    assert torch.equal(one.weight, build(lambda: nn.Linear(3, 3), seed=(1, "actor")).weight)
    assert loose.std() > 0.1
    again = nn.Linear(3, 3)
    initium.apply(plan_of(target), again)
    assert torch.equal(again.weight, one.weight)


def test_recording_an_init_function_run_by_hand():
    def init(module):
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    model = nn.Sequential(nn.Linear(30, 40), nn.LayerNorm(40), nn.Linear(40, 3))
    norm = model[1].weight.detach().clone()
    pointers = [p.data_ptr() for p in model.parameters()]
    with recording(seed=3) as rec:
        rec.name(model).apply(init)
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert model[0].bias.eq(0).all()
    assert torch.equal(model[1].weight, norm)
    assert "init, test_record.py:" in plan_of(model)["0.weight"].write.source
    twin = build(
        lambda: nn.Sequential(nn.Linear(30, 40), nn.LayerNorm(40), nn.Linear(40, 3)).apply(init),
        seed=3,
    )
    assert torch.equal(twin[0].weight, model[0].weight)


def test_the_version_counter_sees_what_was_written():
    model = nn.Linear(3, 3)
    out = model(torch.ones(1, 3)).relu().square().sum()
    with recording(seed=0):
        nn.init.normal_(model.weight)
    second = (model.weight * model.weight).sum()
    with recording(seed=0):
        nn.init.normal_(model.weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        second.backward()
    assert out is not None


# ---- as data


def test_sources_name_the_line_of_the_users_code():
    def helper_(tensor):
        return nn.init.normal_(tensor)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)
            self.w = nn.Parameter(helper_(torch.empty(3)))

    line = Net.__init__.__code__.co_firstlineno
    plan = plan_of(build(Net, seed=0))
    name = "test_sources_name_the_line_of_the_users_code.Net.__init__"
    assert plan["conv.weight"].write.source == (
        f"constructor of Conv2d, in {name}, test_record.py:{line + 2}"
    )
    assert plan["w"].write.source == f"{name}, test_record.py:{line + 3}"


def test_a_recorded_plan_survives_its_file(tmp_path):
    plan = plan_of(build(Everything, seed=5))
    plan.save(tmp_path / "plan.json")
    loaded = initium.Plan.load(tmp_path / "plan.json")
    assert loaded == plan
    assert str(loaded) == str(plan)
    assert not plan.diff(loaded)
    model = build(Everything, seed=6, device="meta")
    materialize(model, plan=loaded)
    assert same(state(model), state(build(Everything, seed=5)))
    data = json.loads((tmp_path / "plan.json").read_text())
    writes = {line["name"]: line["writes"] for line in data["lines"]}
    assert writes["angles"][-1]["kind"] == "capture"
    assert writes["embedding.weight"][-1]["where"] == [[0, 1, 1]]


def test_a_diff_sees_other_values_at_the_same_place():
    class Net(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.register_buffer("steps", torch.arange(5) * n)

    one, two, again = (plan_of(build(lambda n=n: Net(n), seed=0)) for n in (1, 2, 1))
    assert one.diff(two).startswith("- steps | 5 | captured(mul)")
    assert not one.diff(again)


def test_a_checkpoint_over_a_constructor(tmp_path):
    def make():
        return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))

    torch.save({"0.weight": torch.full((4, 3), 7.0)}, tmp_path / "x.pth")
    load = dict(type="Pretrained", checkpoint=str(tmp_path / "x.pth"))
    with pytest.warns(InitWarning, match="not in the file"):
        model = build(make, seed=1, init_cfg=load)
    with pytest.warns(InitWarning, match="not in the file"):
        meta = build(make, seed=1, init_cfg=load, device="meta")
    materialize(meta)
    assert model[0].weight.eq(7).all()
    assert same(state(model), state(meta))
    assert torch.equal(model[1].weight, build(make, seed=1)[1].weight)
    with pytest.raises(InitError, match="is protected"):
        initium.initialize(meta, dict(type="Normal", layer="Linear"))
    (tmp_path / "x.pth").unlink()
    gone = build(make, seed=1, device="meta")
    with pytest.raises(FileNotFoundError):
        materialize(gone, plan=plan_of(model))
    assert gone[0].weight.is_meta


def test_a_sidecar_of_another_plan_is_refused(tmp_path):
    class Net(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.register_buffer("steps", torch.arange(5) * n)

    for n in (1, 2):
        plan_of(build(lambda n=n: Net(n), seed=0)).save(tmp_path / f"{n}.json")
    (tmp_path / "2.values.safetensors").replace(tmp_path / "1.values.safetensors")
    with pytest.raises(
        InitError, match="does not hold the values of steps that the plan speaks of"
    ):
        initium.Plan.load(tmp_path / "1.json")
