"""Constructors of timm, which asks for torchvision only to load pictures: a stand-in will do."""

import importlib.machinery
import sys
import types

import pytest
import torch

import initium


class Anything(type):
    """A class that has whatever is asked of it."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {"__init__": lambda *_, **__: None})


class StandIn(types.ModuleType):
    __path__ = ()
    __version__ = "0.28"
    __getattr__ = Anything.__getattr__


class Finder:
    """Finds a stand-in for each module of torchvision."""

    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


@pytest.fixture(scope="module")
def timm():
    before, finder = set(sys.modules), Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield pytest.importorskip("timm")
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("timm", "torchvision"):
                del sys.modules[name]


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "resnet18", "convnext_atto", "mobilenetv3_small_050", "xcit_nano_12_p16_224"],
)  # fmt: skip
def test_a_constructor_is_recorded_and_replayed(timm, name):
    def make():
        return timm.create_model(name)

    torch.manual_seed(0)
    eager = bits(make())
    torch.manual_seed(0)
    assert same(bits(initium.build(make, exact=True)), eager)
    model = initium.build(make, seed=0, device="meta")
    initium.materialize(model)
    assert same(bits(model), bits(initium.build(make, seed=0)))
    assert initium.verify(model) > 50
