"""What the tests of checkpoints share."""

from collections import OrderedDict
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from initium import InitError


def load(path, **kw):
    """A rule that loads a checkpoint."""
    return dict(type="Pretrained", checkpoint=str(path), **kw)


def net():
    """A convolution, a norm with buffers, and a linear layer."""
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), fc=nn.Linear(4, 2))
    )


def bits(model):
    """A copy of every tensor."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    """Whether two state dicts have the same names and values."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@contextmanager
def refused(model, match):
    """What is done within is refused, and changes nothing."""
    before = bits(model)
    with pytest.raises(InitError, match=match) as caught:
        yield caught
    assert same(bits(model), before)
