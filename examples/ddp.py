"""Data parallel: torchrun --nproc-per-node 2 ddp.py"""

import time

import torch
import torch.distributed as dist
from net import RULES, Net, data
from torch.nn.parallel import DistributedDataParallel

import initium

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
model = DistributedDataParallel(Net())
initium.initialize(model, RULES, seed=0)  # every rank draws the same values

x, y = (part[rank::world] for part in data())
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for step in range(3):
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    dist.all_reduce(loss, dist.ReduceOp.SUM)
    if rank == 0:
        print(f"step {step}: loss {loss.item() / world:.4f}")
dist.destroy_process_group()
time.sleep(0.1)  # gloo's threads let go of tensors, while there is an interpreter
