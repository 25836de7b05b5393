"""Train a small language model on any number of processes: the same start, whatever their number.

torchrun --nproc-per-node 2 sharded.py
"""

import time

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import initium


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(self, words=101, width=32, depth=3):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, words, bias=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


RULES = [
    dict(type="Normal", layer=["Linear", "Embedding"], std=0.02),
    dict(type="Normal", name="blocks.*.down.weight", std=0.005),
]


def main():
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))

    model = initium.build(Net, init_cfg=RULES, seed=0, device="meta")  # no memory yet
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    initium.materialize(model)  # each rank fills its own shards

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    tokens = torch.randint(101, (4, 17), generator=torch.Generator().manual_seed(0))
    for step in range(3):
        logits = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if dist.get_rank() == 0:
            print(f"step {step}: loss {loss.item():.4f}")
    dist.destroy_process_group()
    time.sleep(0.1)  # gloo's threads let go of tensors, while there is an interpreter


if __name__ == "__main__":
    main()
