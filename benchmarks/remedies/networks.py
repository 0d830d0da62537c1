"""The networks of the experiments, built by a few lines each, at torch's own initialisation unless said otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

PIXELS, CLASSES = 64, 10

Weights = Callable[[nn.Module], object]


def plain(
    depth: int, act: Callable[[], nn.Module], *, width: int = 64, inputs: int = PIXELS, outputs: int = CLASSES
) -> nn.Sequential:
    """So many layers, each but the last followed by an activation."""
    sizes = [inputs, *[width] * (depth - 1), outputs]
    layers = [part for into, out in pairwise(sizes) for part in (nn.Linear(into, out), act())]
    return nn.Sequential(*layers[:-1])


def he(network: nn.Module) -> nn.Module:
    """The network with weights as He drew them, and no biases."""
    return drawn(network, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))


def glorot(network: nn.Module) -> nn.Module:
    """The network with weights as Glorot drew them, and no biases."""
    return drawn(network, nn.init.xavier_uniform_)


def drawn(network: nn.Module, fill: Callable[[Tensor], object]) -> nn.Module:
    """The network with its weights filled, and no biases."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def scaled(network: nn.Module, factor: float) -> nn.Module:
    """The network with larger or smaller weights."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(factor if parameter.ndim > 1 else 1.0)
    return network


def dead(network: nn.Module) -> nn.Module:
    """The network with biases so far below zero that rectifiers stay shut."""
    for module in network.modules():
        if isinstance(module, nn.Linear) and module.out_features != CLASSES:
            nn.init.constant_(module.bias, -2.0)
    return network


def convolutions(depth: int, act: Callable[[], nn.Module], *, channels: int = 8, norm: bool = False) -> nn.Sequential:
    """So many 3 x 3 convolutions at full size, and one layer over the mean of what they put out in each quarter."""
    sizes = [1, *[channels] * depth]
    parts: list[nn.Module] = []
    for into, out in pairwise(sizes):
        parts += [nn.Conv2d(into, out, 3, padding=1), *([nn.BatchNorm2d(out)] if norm else []), act()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, CLASSES))


class Reader(nn.Module):
    """A recurrent layer that reads a sequence, and a layer that answers behind its last step."""

    def __init__(self, kind: type[nn.RNNBase], inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.recurrence = kind(inputs, width, batch_first=True)
        self.answer = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrence(x)
        return self.answer(states[:, -1]).squeeze(-1)


class Branches(nn.Module):
    """A stack of residual blocks of two layers without normalisation, He-initialised."""

    def __init__(self, blocks: int, width: int = 64) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([plain(2, nn.ReLU, width=width, inputs=width, outputs=width) for _ in range(blocks)])
        self.answer = nn.Linear(width, CLASSES)
        he(self)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.answer(x)


class Transformer(nn.Module):
    """Post-norm transformer layers over the lines of an image, and a layer over their mean."""

    def __init__(self, depth: int, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(torch.randn(8, width) / math.sqrt(width))
        layers = [nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True) for _ in range(depth)]
        self.layers = nn.ModuleList(layers)
        self.answer = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.place
        for layer in self.layers:
            x = layer(x)
        return self.answer(x.mean(1))
