"""Tensors with elements in common: the write that comes later in the order of precedence wins."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import initium

SIZE = 60


def view(memory, kind, first, n):
    """A part of the memory, of one of several kinds."""
    if kind == "block":
        return memory[first : first + n]
    if kind == "rows":
        return memory[first : first + 2 * n].view(2, n)
    return memory.view(6, 10)[:, first % 10 : first % 10 + 1]


VIEW = st.tuples(
    st.sampled_from(["block", "rows", "column"]), st.integers(0, 20), st.integers(1, 20)
)


@pytest.mark.filterwarnings("ignore::initium.InitWarning")
@settings(max_examples=150, deadline=None)
@given(views=st.lists(VIEW, min_size=1, max_size=6), order=st.permutations(range(6)))
def test_as_if_each_rule_was_carried_out_by_itself(views, order):
    def made():
        memory = torch.zeros(SIZE)
        model = nn.Module()
        for i, each in enumerate(views):
            setattr(model, f"p{i}", nn.Parameter(view(memory, *each)))
        return model, memory

    kinds = [dict(type="Normal", std=0.1), dict(type="Constant", val=3.0), dict(type="Uniform")]
    rules = [dict(kinds[i % 3], name=f"p{i}") for i in order if i < len(views)]
    for i, rule in enumerate(rules):
        if "val" in rule:  # the same constant again would be credited to the first
            rule["val"] += i
    together, memory = made()
    initium.initialize(together, rules, seed=4)
    one_by_one, expected = made()
    for rule in rules:
        initium.initialize(one_by_one, rule, seed=4)
    assert torch.equal(memory, expected)


def test_many_parts_of_one_memory_are_one_turn(monkeypatch):
    memory, model = torch.zeros(4000), nn.Module()
    for i in range(1000):
        setattr(model, f"p{i}", nn.Parameter(memory[4 * i : 4 * i + 4]))
    passes = []
    writer = initium.writing.Writer
    write = writer.write
    monkeypatch.setattr(writer, "write", lambda self, t: (passes.append(1), write(self, t))[1])
    initium.initialize(model, dict(type="Normal", name="**"), seed=0)
    assert len(passes) == 1
    assert bool(memory.all())
