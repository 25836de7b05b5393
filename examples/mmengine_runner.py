"""MMEngine's Runner: python mmengine_runner.py"""

import torch
from mmengine.runner import Runner
from net import data
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from initium import BaseModule  # in place of mmengine.model's


class Classifier(BaseModule):
    def __init__(self):
        super().__init__(init_cfg=dict(type="Kaiming", layer="Linear"))
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
        self.head = nn.Linear(32, 3)

    def train_step(self, batch, optim_wrapper):
        x, y = batch
        loss = nn.functional.cross_entropy(self.head(self.body(x)), y)
        optim_wrapper.update_params(loss)
        return dict(loss=loss)


torch.manual_seed(0)  # init_weights takes its seed from here
runner = Runner(
    model=Classifier(),
    work_dir="out",
    train_dataloader=DataLoader(TensorDataset(*data()), batch_size=16),
    train_cfg=dict(by_epoch=True, max_epochs=1),
    optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
)
runner.train()  # calls init_weights, once
print("initialised:", runner.model.is_init)
