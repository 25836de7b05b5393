"""What ranks start from in test_seed_checkpoint.py: a model with tensors of every sort, and failures."""

import os
import resource
import signal
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from initium.seeding import write_start

CONFIG = [
    dict(type="Kaiming", layer="Linear"),
    dict(type="Uniform", name="norm.weight", a=0.5, b=1.5),
    dict(type="Pretrained", checkpoint="old.safetensors", to="inner.1"),
]


def is_first():
    return not dist.is_initialized() or dist.get_rank() == 0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(101, 24, padding_idx=3)
        self.inner = nn.Sequential(nn.Linear(24, 35), nn.Linear(35, 24))
        self.norm = nn.BatchNorm1d(24)
        self.square = nn.Parameter(torch.empty(30, 20))
        nn.init.orthogonal_(self.square)
        self.scale = nn.Parameter(torch.tensor(2.5))
        self.pair = nn.Parameter(torch.randn(2, 1, 77) * 0.02)
        self.low = nn.Parameter(torch.randn(5, 7).to(torch.bfloat16), requires_grad=False)
        self.chain = nn.Parameter(torch.rand(11).log())
        self.register_buffer("steps", 10.0 ** torch.arange(13))
        self.register_buffer("mask", torch.ones(9, 9).triu(), persistent=False)
        self.head = nn.Linear(24, 101, bias=False)
        self.head.weight = self.words.weight


def raises():
    if not is_first():
        raise RuntimeError("this rank is broken")
    return Net()


def differs():
    net = Net()
    if not is_first():
        nn.init.constant_(net.scale, 7)
    return net


def full():
    if not is_first():
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
    return Net()


def killed():
    if not is_first():
        os.kill(os.getpid(), signal.SIGKILL)
    return Net()


class Late(Net):
    """Killed when the others have begun to write."""

    def state_dict(self, *args, **kwargs):
        if not is_first():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().state_dict(*args, **kwargs)


class Tiny(nn.Module):
    """Nothing in it is cut."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.5 if is_first() else 7.0))


def tiny(folder):
    write_start(Tiny, list, Path(folder) / "start", seed=3)


def start(folder, target, out="start", **kw):
    """Write a start from within a group that is there; what its first rank tells."""
    os.chdir(folder)
    report = write_start(globals()[target], lambda: CONFIG, out, seed=3, **kw)
    return report and report.counts


def families(folder):
    """The start of every family of transformers."""
    from families import FAMILIES  # which torchrun does not find

    for name, family in FAMILIES.items():
        write_start(family.crafted, lambda f=family: f.rules, Path(folder) / name, seed=3)
