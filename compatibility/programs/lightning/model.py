"""A LightningModule that reads handwritten digits."""

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F


class DigitClassifier(L.LightningModule):
    def __init__(self, width: int = 64, depth: int = 3, lr: float = 1e-3):
        super().__init__()
        self.save_hyperparameters()
        layers = [nn.Linear(64, width), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(width, 10))
        self.losses = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        scores = self(x)
        self.log("val_loss", F.cross_entropy(scores, y), prog_bar=True)
        self.log("val_accuracy", (scores.argmax(1) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
