"""One process: python single.py"""

import torch
from net import RULES, Net, data

import initium

model = Net()
report = initium.initialize(model, RULES, seed=0)
print(report.counts)

x, y = data()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for step in range(3):
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step}: loss {loss.item():.4f}")
