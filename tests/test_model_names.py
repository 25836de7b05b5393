"""A file that was written for MMEngine runs with one word exchanged."""

import importlib
import inspect
import re
from itertools import zip_longest
from unittest.mock import patch

import pytest
from torch import nn

import initium
import openmmlab

# what mmengine.model exports besides: training, averaging, preprocessing, other wrappers
TRAINING = re.compile(
    r"MM\w+|Base\w*Model|BaseTTAModel|\w*Averag\w+|\w*EMA|\w*Preprocessor|stack_batch|merge_dict"
    r"|detect_\w+|\w+_sync_batchnorm"
)
NAMES = {
    "model": ["BaseModule", "kaiming_init"],
    "model.base_module": ["BaseModule", "Sequential", "ModuleList", "ModuleDict"],
    "model.weight_init": ["trunc_normal_", "initialize", "BaseInit"],
}


def exported(module):
    names = getattr(module, "__all__", None) or [
        name
        for name, found in vars(module).items()
        if getattr(found, "__module__", None) == module.__name__ and not name.startswith("_")
    ]
    return [name for name in names if not TRAINING.fullmatch(name)]


@pytest.mark.parametrize("place", NAMES)
def test_every_name_and_signature(place):
    theirs = openmmlab.theirs(f"mmengine.{place}")
    ours = importlib.import_module(f"initium.{place}")
    names = exported(theirs)
    assert set(NAMES[place]) <= set(names)
    for name in names:
        assert hasattr(ours, name), name
        if name == "is_model_wrapper":  # which takes a registry of wrappers, too
            continue
        takes_the_same(getattr(theirs, name), getattr(ours, name), name)


def takes_the_same(theirs, ours, name):
    """What can be given to theirs can be given to ours, by position or by name."""
    theirs, ours = (inspect.signature(f).parameters for f in (theirs, ours))
    kinds = [p.kind for p in ours.values()]
    for (their_name, their), our_name in zip_longest(theirs.items(), list(ours)[: len(theirs)]):
        if their.kind is their.VAR_KEYWORD:
            assert their.VAR_KEYWORD in kinds, name
        elif their.kind is their.KEYWORD_ONLY:
            assert ours[their_name].default == their.default, name
        else:
            assert (our_name, ours[our_name].kind) == (their_name, their.kind), name
            assert ours[our_name].default == their.default, name


SOURCE = """
import torch
from torch import nn
from mmengine.model import BaseModule, ModuleList, constant_init, initialize
from mmengine.model.base_module import Sequential
from mmengine.model.weight_init import trunc_normal_, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS, build_from_cfg


class Net(BaseModule):
    def __init__(self, init_cfg=dict(type="Constant", layer="Conv2d", val=2, bias=3)):
        super().__init__(init_cfg)
        self.conv, self.blocks = nn.Conv2d(1, 1, 1), ModuleList([Sequential(nn.Linear(9, 9))])

    def init_weights(self):
        super().init_weights()
        constant_init(self.blocks[0][0], 5, bias=7)
        trunc_normal_(self.blocks[0][0].weight, std=0.02, a=-0.04, b=0.04)


net = Net()
net.init_weights()
other = nn.Sequential(nn.Linear(2, 2))
initialize(module=other, init_cfg=dict(type="Constant", layer="Linear", val=1))
init = build_from_cfg(dict(type="Constant", val=4, layer="Linear"), WEIGHT_INITIALIZERS)
init(other)
"""


@pytest.mark.filterwarnings("ignore")  # MMEngine's own
@pytest.mark.parametrize("package", ["mmengine", "initium"])
def test_a_file_runs_with_one_word_exchanged(package):
    openmmlab.theirs("mmengine.model")
    found = {}
    exec(SOURCE.replace("mmengine", package), found)  # the user's file
    net, other = found["net"], found["other"]
    assert net.conv.weight.item() == 2 and net.conv.bias.item() == 3
    assert net.blocks[0][0].bias.eq(7).all()
    drawn = net.blocks[0][0].weight
    assert 0.004 < drawn.std() < 0.03 and drawn.abs().max() <= 0.04
    assert other[0].weight.eq(4).all() and other[0].bias.eq(0).all()


def test_what_tests_replace_is_there():
    with patch("initium.model.base_module.is_model_wrapper", lambda module: False):
        assert not importlib.import_module("initium.model.base_module").is_model_wrapper(None)


def test_they_are_the_same_objects():
    from initium import model
    from initium.model import base_module, weight_init

    assert model.BaseModule is base_module.BaseModule is initium.BaseModule
    assert model.KaimingInit is weight_init.KaimingInit is initium.KaimingInit
    assert weight_init.trunc_normal_ is initium.init.trunc_normal_
    assert isinstance(model.Sequential(nn.Linear(1, 1)), nn.Sequential)
