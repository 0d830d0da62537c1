"""Networks on which tests apply every remedy, one for each style of construction. All take `example_inputs(kind)`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two layers and their activations, held by name as in Lightning modules."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.squash = nn.Tanh()
        self.second = nn.Linear(width, width)
        self.bend = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bend(self.second(self.squash(self.first(x))))


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Tanh(), nn.Dropout(0.1)))
        self.body = nn.Sequential(Block(5), Block(5))
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


class Listed(nn.Module):
    """A ModuleList of layers, and a ModuleList of activations that `forward` zips with it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(3)])
        self.acts = nn.ModuleList([nn.Softsign() for _ in range(3)])
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer, act in zip(self.layers, self.acts, strict=True):
            x = act(layer(x))
        return self.out(x)


class SharedActivation(nn.Module):
    """One activation module for all layers, registered after the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)
        self.act = nn.Hardtanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.act(self.fc2(self.act(self.fc1(x)))))


class SharedLayer(nn.Module):
    """One layer that runs three times, each time with an activation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.acts = nn.ModuleList([nn.Sigmoid() for _ in range(3)])
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for act in self.acts:
            x = act(self.layer(x))
        return self.out(x)


class Tied(nn.Module):
    """Two layers with one weight, and biases of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.two.weight = self.one.weight
        self.net = nn.Sequential(self.one, nn.LogSigmoid(), self.two, nn.Tanhshrink(), self.out)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Functional(nn.Module):
    """Activations as functional calls alone."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(F.relu(self.fc2(torch.sigmoid(self.fc1(x)))))


class Branching(SharedActivation):
    """A forward pass that depends on a value, so that it cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(-x if x.sum() > 0 else x)


class Gated(nn.Module):
    """Squeeze and excitation: the sigmoid gates the signal."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act = nn.Linear(6, 6), nn.Tanh()
        self.squeeze, self.gate = nn.Linear(6, 6), nn.Sigmoid()
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.fc1(x))
        return self.out(x * self.gate(self.squeeze(x)))


class Sequences(nn.Module):
    """Embedding, a layer over (batch, time, features), recurrence and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.mix = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.lstm = nn.LSTM(6, 6, batch_first=True)
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.lstm(self.mix(self.embed(x)))
        x, _ = self.attend(x, x, x)
        return self.out(x[:, -1])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3), nn.Sigmoid())


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(4, 4, 3, stride=2, groups=2),
        nn.MaxPool2d(2),
        nn.Hardsigmoid(),
        nn.Flatten(),
        nn.Linear(4, 5),
        nn.Tanh(),
        nn.Linear(5, 3),
    )


KINDS = {
    "mlp": mlp,
    "nested": Nested,
    "module list": Listed,
    "shared activation": SharedActivation,
    "shared layer": SharedLayer,
    "tied weights": Tied,
    "cnn": cnn,
    "functional": Functional,
    "gated": Gated,
}


def build_network(kind: str, *, seed: int = 0) -> nn.Module:
    """A new network of that kind, with the same weights for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return KINDS[kind]()


def example_inputs(kind: str, *, rows: int = 8) -> Tensor:
    """A batch for the network of that kind: (rows, 6), or (rows, 1, 6, 6) for the cnn."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn((rows, 1, 6, 6) if kind == "cnn" else (rows, 6), generator=generator)


def training_step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: Tensor) -> None:
    """One training step on a made-up loss."""
    optimizer.zero_grad()
    network(batch).square().sum().backward()
    optimizer.step()
