"""Wrappers come and go between a plan and its model: names, streams and values stay the same."""

import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
)

import initium
import wrapped
from initium.fsdp1 import param_init_fn


def recomputed(model):
    """With activation checkpointing, which renames what is below."""
    apply_activation_checkpointing(
        model, check_fn=lambda module: isinstance(module, nn.Sequential | nn.Linear)
    )
    return model


def same(model, single):
    found = {
        name.replace("_checkpoint_wrapped_module.", "").replace("_orig_mod.", ""): value
        for name, value in wrapped.bits(model).items()
    }
    return not wrapped.different(found, wrapped.bits(single))


def test_recomputed_modules_are_seen_through():
    model = recomputed(wrapped.Net())
    initium.initialize(model, wrapped.RULES, seed=0)
    assert same(model, wrapped.initialized())


def test_a_plan_of_before_the_wrapping_fits_and_the_other_way():
    built = initium.build(wrapped.Net, seed=3, device="meta")
    initium.materialize(recomputed(built))
    single = initium.build(wrapped.Net, seed=3)
    assert same(built, single)
    model = wrapped.Net()
    compiled = torch.compile(model, backend="eager")
    initium.apply(initium.plan_of(single), compiled)
    assert same(model, single)
    other = wrapped.Net()
    initium.apply(initium.plan(compiled, wrapped.RULES, seed=0), other)
    assert same(other, wrapped.initialized())


def test_recomputed_units_of_fsdp1():
    def tied():
        return wrapped.Net(tied=True)

    built = recomputed(initium.build(tied, seed=3, device="meta"))
    fill = param_init_fn(built)
    for module in built.modules():
        fill(module)
    assert same(built, initium.build(tied, seed=3))
