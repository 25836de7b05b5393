"""Constructors other than transformers' for the sweep: torch.nn's layers, and classic models."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations


def classics() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """(name, constructor) of each."""
    yield from _layers()
    yield from (
        ("LeNet", LeNet), ("MLP-Mixer block", Mixer), ("ResNet", ResNet), ("ViT", ViT), ("Mamba block", Mamba),
        ("Swin window attention", Window), ("SIREN", Siren), ("tied language model", Tied),
        ("momentum pair", Momentum), ("weight_norm", WeightNorm), ("spectral_norm", Spectral),
        ("orthogonal RNN", Orthogonal), ("views of one storage", Packed), ("LoRA", LoRA), ("VQ", VQ),
        ("hashing", Hashing), ("numpy weights", FromNumpy), ("masked autoencoder", Masked),
    )  # fmt: skip


def _layers() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    layers = {
        "Linear": (7, 5), "Bilinear": (3, 4, 5), "Conv1d": (3, 4, 5), "Conv2d": (3, 4, 5),
        "Conv3d": (2, 3, 3), "ConvTranspose1d": (3, 4, 5), "ConvTranspose2d": (3, 4, 5),
        "ConvTranspose3d": (2, 3, 3), "BatchNorm1d": (5,), "BatchNorm2d": (5,), "BatchNorm3d": (5,),
        "SyncBatchNorm": (5,), "GroupNorm": (2, 6), "LayerNorm": (7,), "RMSNorm": (7,), "PReLU": (3,),
        "RNN": (4, 5, 2), "LSTM": (4, 5, 2), "GRU": (4, 5, 2), "RNNCell": (4, 5), "LSTMCell": (4, 5),
        "GRUCell": (4, 5), "MultiheadAttention": (8, 2), "TransformerEncoderLayer": (8, 2, 16),
        "TransformerDecoderLayer": (8, 2, 16), "Transformer": (8, 2, 2, 2, 16),
        "AdaptiveLogSoftmaxWithLoss": (8, 20, [5, 10]),
    }  # fmt: skip
    for name, arguments in layers.items():
        yield f"nn.{name}", _call(getattr(nn, name), *arguments)
    yield "nn.InstanceNorm2d", _call(nn.InstanceNorm2d, 5, affine=True, track_running_stats=True)
    yield "nn.Embedding", _call(nn.Embedding, 10, 4, padding_idx=3)
    yield "nn.EmbeddingBag", _call(nn.EmbeddingBag, 10, 4, padding_idx=-1)
    yield "nn.LSTM, projected", _call(nn.LSTM, 4, 6, bidirectional=True, proj_size=3)
    yield "nn.LazyLinear", _call(nn.LazyLinear, 3)


def _call(cls: type, *arguments: object, **named: object) -> Callable[[], nn.Module]:
    return lambda: cls(*arguments, **named)


class LeNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Conv2d(6, 16, 5), nn.Flatten(), nn.Linear(400, 10)
        )
        self.apply(self._init)

    @staticmethod
    def _init(module: nn.Module) -> None:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_normal_(module.weight)
            module.bias.data.fill_(0.01)


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.channels = nn.Linear(16, 32), nn.Linear(32, 16)
        self.gamma = nn.Parameter(torch.full((16,), 1e-4))
        for linear in (self.tokens, self.channels):
            linear.weight.data.normal_(0, 0.02).clamp_(-0.04, 0.04)
            linear.bias.data = torch.zeros(linear.out_features)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, bias=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16)) for _ in range(3)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for block in self.blocks:
            nn.init.zeros_(block[1].weight)


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, 16))
        self.pos = nn.Parameter(torch.randn(1, 17, 16) * 0.02)
        self.qkv = nn.Linear(16, 48)
        nn.init.trunc_normal_(self.cls, std=0.02)
        for part in self.qkv.weight.chunk(3):
            nn.init.xavier_uniform_(part)
        with torch.no_grad():
            self.qkv.bias[16:32].fill_(0)
        self.rates = [r.item() for r in torch.linspace(0, 0.1, 3)]


class Mamba(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        states = torch.arange(1, 17, dtype=torch.float32).repeat(8, 1)
        self.A_log = nn.Parameter(torch.log(states))
        self.D = nn.Parameter(torch.ones(8))
        dt = torch.exp(torch.rand(8) * (math.log(0.1) - math.log(1e-3)) + math.log(1e-3)).clamp(
            min=1e-4
        )
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))


class Window(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(25, 2))
        grid = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")).flatten(
            1
        )
        relative = (grid[:, :, None] - grid[:, None, :]).permute(1, 2, 0).contiguous()
        relative[:, :, 0] += 2
        relative[:, :, 0] *= 5
        self.register_buffer("index", relative.sum(-1), persistent=False)
        nn.init.trunc_normal_(self.table, std=0.02)


class Siren(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 32), nn.Linear(32, 1))
        with torch.no_grad():
            self.net[0].weight.uniform_(-1 / 2, 1 / 2)
            self.net[1].weight.uniform_(-1, 1).mul_(math.sqrt(6 / 32) / 30)
            self.net[1].bias.copy_(torch.tensor([0.25]))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8, padding_idx=0)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.head.weight, std=8**-0.5)


class Momentum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))
        self.teacher = copy.deepcopy(self.student)
        self.extra = nn.Linear(4, 8)
        for mine, theirs in zip(self.extra.parameters(), self.student[0].parameters(), strict=True):
            mine.data.copy_(theirs.data)
            theirs.requires_grad_(False)


class WeightNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv1d(3, 4, 3))
        self.linear = parametrizations.orthogonal(nn.Linear(4, 4))


class Spectral(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = parametrizations.spectral_norm(nn.Linear(5, 4))


class Orthogonal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6)
        for name, weight in self.rnn.named_parameters():
            if "weight_hh" in name:
                nn.init.orthogonal_(weight)
            elif "bias" in name:
                weight.data.zero_()
                weight.data[6:12] = 1
        self.eye = nn.Parameter(nn.init.eye_(torch.empty(3, 3)))
        self.dirac = nn.Parameter(nn.init.dirac_(torch.empty(3, 3, 3)))


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        packed = torch.randn(6, 4)
        self.one, self.two = nn.Parameter(packed[:2]), nn.Parameter(packed[2:])
        self.transposed = nn.Parameter(torch.randn(3, 5).t())
        self.expanded = nn.Parameter(torch.rand(4, 1).expand(4, 3).contiguous())


class LoRA(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)
        nn.init.kaiming_uniform_(self.a.weight, a=math.sqrt(5))
        nn.init.zeros_(self.b.weight)
        self.half = nn.Linear(4, 4).to(torch.bfloat16)


class VQ(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        codes = F.normalize(torch.randn(10, 4), dim=-1)
        self.register_buffer("codes", codes)
        self.register_buffer("counts", torch.zeros(10, dtype=torch.long))
        self.register_buffer("order", torch.randperm(10))


class Hashing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "planes", torch.randn(4, 8, generator=torch.Generator().manual_seed(3))
        )
        self.register_buffer("signs", torch.randint(0, 2, (8,)) * 2 - 1)
        self.register_buffer("kept", torch.rand(8) < 0.5)
        self.chosen = nn.Parameter(torch.empty(8).bernoulli_(0.5))


class FromNumpy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        array = self.linear.weight.detach().numpy()
        array[:] = array.round(1)
        self.other = nn.Linear(2, 2)
        self.other.weight.data.numpy()[0, 0] = 5


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        with torch.no_grad():
            self.linear.weight.mul_(torch.tril(torch.ones(6, 6)))
            self.linear.bias -= self.linear.bias.mean()
        if self.linear.weight.abs().max() > 10:
            raise ValueError
        self.steps = [float(b) for b in self.linear.bias]
