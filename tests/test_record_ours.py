"""Our own functions within a constructor that is recorded."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import initium
from initium import build, recorded
from initium.record import kinds, modes
from initium.streams import dtypes

RULES = [dict(type="Xavier", layer="Linear"), dict(type="Uniform", layer="Conv2d")]


def by_function(net):
    initium.kaiming_init(net.conv)
    torch.randn(3)
    initium.normal_init(net.line, std=2.0, bias=0.5)


def by_class(net):
    initium.XavierInit(layer=["Conv2d", "Linear"], distribution="uniform")(net)


def by_initialize(net):
    initium.initialize(net, RULES)


def by_torch(net):
    initium.initialize(net, RULES, rng="torch")


def by_seed(net):
    initium.initialize(net, RULES, seed=5)


def by_every_function(net):
    initium.init.trunc_normal_(net.conv.weight, std=0.1)
    initium.init.orthogonal_(net.conv.weight)
    initium.init.sparse_(net.line.weight, 0.5)
    initium.init.kaiming_uniform_(net.line.weight)
    initium.trunc_normal_init(net.conv, std=0.2, a=-0.1)
    initium.OrthogonalInit(layer="Linear")(net)
    model = initium.ConstantInit(2, name="line.bias")
    initium.apply(initium.plan(net, model), net)
    initium.protect(net, "line.bias")
    initium.unprotect(net)


def by_base_module(net):
    net.inner = initium.Sequential(nn.Linear(3, 3), init_cfg=dict(type="Normal", layer="Linear"))
    net.inner.init_weights()


WAYS = [
    by_function, by_class, by_initialize, by_torch, by_seed, by_base_module, by_every_function
]  # fmt: skip


def factory(way):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.line = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
            nn.init.normal_(self.line.bias)
            way(self)
            self.last = nn.Parameter(torch.randn(7))
            self.conv.weight.data.mul_(2)

    return Net


@pytest.mark.parametrize("way", WAYS)
def test_exact_is_eager_bit_for_bit(way):
    torch.manual_seed(3)
    eager, after = factory(way)(), torch.get_rng_state()
    torch.manual_seed(3)
    exact = build(factory(way), exact=True)
    assert torch.equal(torch.get_rng_state(), after)
    for name, value in eager.state_dict().items():
        assert torch.equal(value, exact.state_dict()[name]), name
    assert initium.plan_of(exact)["conv.weight"].writes


@pytest.mark.parametrize("way", WAYS)
def test_without_exact_a_seed_is_all_it_depends_on(way):
    one = build(factory(way), seed=1).state_dict()
    torch.manual_seed(9)
    again = build(factory(way), seed=1).state_dict()
    other = build(factory(way), seed=2).state_dict()
    meta = build(factory(way), seed=1, device="meta")
    initium.materialize(meta, device="cpu")
    for name, value in one.items():
        assert torch.equal(value, again[name]), name
        assert torch.equal(value, meta.state_dict()[name]), name
    assert not torch.equal(one["last"], other["last"])


@pytest.fixture
def unseen_ourselves(monkeypatch):
    """What the package itself does with tensors must not be recorded as if the user did it."""
    package, theirs = (str(Path(module.__file__).parent) for module in (initium, torch))

    def kind_of(func):
        frame = sys._getframe(1)
        while frame.f_code.co_filename.startswith((theirs, modes.__file__)):
            frame = frame.f_back
        doer = frame.f_code.co_filename  # `recorded` does what user code would
        assert not doer.startswith(package) or doer == recorded.__file__, (func, frame)
        return kinds.kind_of(func)

    monkeypatch.setattr(modes, "kind_of", kind_of)
    caches = (getattr(dtypes, name, None) for name in vars(dtypes))
    for cache in [c for c in caches if hasattr(c, "cache_clear")]:
        cache.cache_clear()  # what is known from an earlier time would not be done


@pytest.mark.parametrize("way", WAYS)
def test_what_they_write_is_in_the_plan_and_nothing_else(way, unseen_ourselves):
    plan = initium.plan_of(build(factory(way), seed=1))
    for name in ("conv.weight", "line.weight", "line.bias"):
        if way not in (by_torch, by_seed):  # which draw other values than the plan could say
            assert "captured" not in plan[name].what


def test_an_error_after_it_leaves_an_older_model_as_it_was():
    older = nn.Linear(4, 4)
    before = [p.detach().clone() for p in older.parameters()]

    def make():
        initium.xavier_init(older)
        raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        build(make, exact=True)
    assert all(torch.equal(p, b) for p, b in zip(older.parameters(), before, strict=True))
