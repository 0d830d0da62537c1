"""The small networks that the tests of observing train."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def small_mlp(*, inplace: bool = False) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=inplace), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 4))


class LastOfLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, num_layers=2, batch_first=True, dropout=0.2)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


class Functional(nn.Module):
    """Functional activations, a shared layer, a layer that is never called, and one in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.shared = nn.Linear(8, 8)
        self.never = nn.Linear(8, 8)
        self.hidden = [nn.Linear(8, 8)]
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = self.shared(torch.tanh(self.shared(x)))
        x = self.hidden[0](x.relu())
        return self.last(F.dropout(x, 0.2))


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.block = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 8))
        self.last = nn.Linear(8, 4)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.silu(checkpoint(self.block, self.first(x), use_reentrant=self.reentrant)))


class EveryKindOfLayer(nn.Module):
    """Has every kind of layer that is measured: batch normalisation, attention, and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.query, self.kind, self.size = nn.BatchNorm1d(6), nn.Linear(6, 6), nn.Linear(6, 3), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(x)
        weights = (self.query(x) @ x.T).softmax(-1)
        return self.kind(weights @ x), torch.tanh(self.size(x))
