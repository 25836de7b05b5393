"""The small model that the other examples train, its data, and how it starts."""

import torch
from torch import nn

RULES = [
    dict(type="Kaiming", layer="Linear", nonlinearity="relu"),
    dict(type="Normal", name="**.head.weight", std=0.01),
]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.body(x))


def data(n=64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 8, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
