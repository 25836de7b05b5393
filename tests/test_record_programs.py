"""Random programs: what the recorder makes of them is what eager execution makes of them."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import initium

SHAPE = (4, 6)


def _copy_into(a, b):
    a.data.copy_(b.data)


def _swap_data(a, b):
    a.data = b.data.clone() * 0.5


def _deep_copy(a, b):
    a.data = copy.deepcopy(b).data


def _numpy(a, b):
    a.detach().numpy()[1:3] = 2


def _numpy_read(a, b):
    a.data[0, 0] = float(np.asarray(b.detach())[1, 1])


def _item(a, b):
    a.data.add_(b.data[1, 2].item())


def _branch(a, b):
    if (a.data.abs().max() > 0.3).item():
        a.data.mul_(0.5)


def _list(a, b):
    a.data.copy_(torch.tensor(b.data.tolist()) + 1)


def _transpose_in_place(a, b):
    t = torch.empty(6, 4).normal_(0, 1)
    t.t_()
    a.data.copy_(t)


def _two_copies(a, b):
    x = torch.randn(SHAPE)
    a.data.copy_(x)
    b.data.copy_(-x)


def _alias(a, b):
    a.data = b.data  # the same memory from now on


STILL = {  # without randomness
    "zero": lambda a, b: a.data.zero_(),
    "ones": lambda a, b: nn.init.ones_(a),
    "constant": lambda a, b: nn.init.constant_(a, 0.3),
    "mul": lambda a, b: a.data.mul_(0.7),
    "negative": lambda a, b: a.data.mul_(-1.5),
    "add": lambda a, b: a.data.add_(0.1),
    "alpha": lambda a, b: a.data.add_(0.1, alpha=3),
    "sub": lambda a, b: a.data.sub_(1),
    "div": lambda a, b: a.data.div_(3),
    "rsub": lambda a, b: setattr(a, "data", 1 - a.data),
    "clamp": lambda a, b: a.data.clamp_(-0.2, max=0.25),
    "clamp_min": lambda a, b: a.data.clamp_(min=0.05),
    "exp": lambda a, b: a.data.exp_(),
    "tanh": lambda a, b: setattr(a, "data", a.data.tanh()),
    "row": lambda a, b: a.data[2].fill_(4),
    "rows": lambda a, b: a.data[1:3].mul_(2),
    "column": lambda a, b: a.data[:, ::2].zero_(),
    "diagonal": lambda a, b: a.data.diagonal().fill_(1),
    "transposed": lambda a, b: a.data.t()[1].fill_(7),
    "flat": lambda a, b: a.data.view(-1)[3:9].fill_(5),
    "set item": lambda a, b: a.data.__setitem__((0, slice(1, 4)), 9.0),
    "whole view": lambda a, b: a.data.view(2, 12).fill_(0.5),
    "eye": lambda a, b: nn.init.eye_(a),
    "arange": lambda a, b: a.data.copy_(torch.arange(24.0).view(SHAPE)),
    "copy": _copy_into,
    "copy row": lambda a, b: a.data[0].copy_(b.data[3]),
    "tensor": lambda a, b: a.data.mul_(b.data),
    "tensor scalar": lambda a, b: a.data.mul_(torch.tensor(0.5)),
    "data": _swap_data,
    "alias": _alias,
    "deep copy": _deep_copy,
    "numpy": _numpy,
    "numpy read": _numpy_read,
    "item": _item,
    "branch": _branch,
    "list": _list,
    "half": lambda a, b: setattr(a, "data", b.data.to(torch.bfloat16).float()),
    "double": lambda a, b: setattr(a, "data", b.data.double().mul(1 / 3).float()),
}
RANDOM = {
    "normal": lambda a, b: nn.init.normal_(a, 0.1, 0.5),
    "uniform": lambda a, b: nn.init.uniform_(a, -1, 2),
    "kaiming": lambda a, b: nn.init.kaiming_uniform_(a),
    "truncated": lambda a, b: nn.init.trunc_normal_(a, std=0.5, a=-1, b=1),
    "orthogonal": lambda a, b: nn.init.orthogonal_(a),
    "row normal": lambda a, b: a.data[1].normal_(),
    "columns uniform": lambda a, b: a.data[:, 2:4].uniform_(),
    "randn": lambda a, b: setattr(a, "data", torch.randn(SHAPE) * 0.02 + 1),
    "rand_like": lambda a, b: setattr(a, "data", torch.rand_like(b) - 0.5),
    "bernoulli": lambda a, b: a.data.bernoulli_(0.3),
    "permuted": lambda a, b: setattr(a, "data", b.data[torch.randperm(4)].contiguous()),
    "exponential": lambda a, b: a.data.exponential_(),
    "dropout": lambda a, b: setattr(a, "data", nn.functional.dropout(b.data)),
    "own generator": lambda a, b: a.data.normal_(generator=torch.Generator().manual_seed(5)),
    "transposed in place": _transpose_in_place,
    "two copies": _two_copies,
}
STEP = st.tuples(st.sampled_from(sorted(STILL | RANDOM)), st.integers(0, 2), st.integers(0, 2))
QUIET = st.tuples(st.sampled_from(sorted(STILL)), st.integers(0, 2), st.integers(0, 2))


class Net(nn.Module):
    """Three parameters, and a program that writes to them."""

    def __init__(self, steps):
        super().__init__()
        self.w = nn.ParameterList(nn.Parameter(torch.full(SHAPE, float(i))) for i in range(3))
        self.program(steps)

    @torch.no_grad()
    def program(self, steps):
        for name, a, b in steps:
            (STILL | RANDOM)[name](self.w[a], self.w[b])


def values(model):
    return [p.detach().clone() for p in model.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=7))
def test_exact_is_the_eager_model_and_leaves_the_generator_where_it_would(steps):
    torch.manual_seed(1)
    eager, after = values(Net(steps)), torch.get_rng_state()
    torch.manual_seed(1)
    exact = values(initium.build(lambda: Net(steps), exact=True))
    assert same(eager, exact)
    assert torch.equal(after, torch.get_rng_state())


@settings(max_examples=300, deadline=None)
@given(st.lists(QUIET, max_size=8))
def test_without_randomness_a_build_is_the_eager_model(steps):
    eager = values(Net(steps))
    before = torch.get_rng_state()
    assert same(eager, values(initium.build(lambda: Net(steps), seed=1)))
    assert torch.equal(before, torch.get_rng_state())


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=7), st.sampled_from(["again", "meta", "plan", "file", "thread"]))
def test_a_seed_gives_the_same_bits_in_every_way(tmp_path_factory, steps, how):
    def make(**more):
        return initium.build(lambda: Net(steps), seed=("s", 3), **more)

    model = make()
    wanted = values(model)
    if how == "again":
        other = make()
    elif how == "meta":
        other = make(device="meta")
        assert all(p.is_meta for p in other.parameters())
        initium.materialize(other)
    elif how == "thread":
        torch.set_num_threads(2)
        other = make()
        torch.set_num_threads(1)
    else:
        plan = initium.plan_of(model)
        if how == "file":
            path = tmp_path_factory.mktemp("plan") / "plan.json"
            plan.save(path)
            assert initium.Plan.load(path) == plan
            plan = initium.Plan.load(path)
        other = make(device="meta")  # with the same ties
        initium.materialize(other, plan=plan)
    assert same(wanted, values(other))


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=6))
def test_recording_an_existing_model_is_running_the_program_on_it(steps):
    torch.manual_seed(2)
    eager = Net([])
    eager.program(steps)
    torch.manual_seed(2)
    model = Net([])
    with initium.recording(exact=True) as rec:
        model.program(steps)
        rec.name(model)
    assert same(values(eager), values(model))


def fail_within_recording(model, steps):
    with initium.recording(seed=1):
        model.program(steps)
        raise ZeroDivisionError


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=6))
def test_an_exception_leaves_an_existing_model_as_it_was(steps):
    model = Net([])
    memory = [p.data for p in model.parameters()]
    before = [m.clone() for m in memory]
    with pytest.raises(ZeroDivisionError):
        fail_within_recording(model, steps)
    assert same(before, memory)
