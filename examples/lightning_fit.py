"""Lightning: python lightning_fit.py"""

import torch
from lightning.pytorch import LightningModule, Trainer
from net import RULES, Net, data
from torch.utils.data import DataLoader, TensorDataset

from initium.integrations.lightning import InitWeights


class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def training_step(self, batch):
        x, y = batch
        loss = torch.nn.functional.cross_entropy(self.net(x), y)
        print(f"step {self.global_step}: loss {loss.item():.4f}")
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


trainer = Trainer(
    max_steps=3,
    accelerator="cpu",
    callbacks=[InitWeights(RULES, seed=0)],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
loader = DataLoader(TensorDataset(*data()), batch_size=64)
trainer.fit(Classifier(), loader)
