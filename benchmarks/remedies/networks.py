"""The networks of the experiments, with torch's default initialisation unless a function changes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

PIXELS, CLASSES = 64, 10

Weights = Callable[[nn.Module], object]


def build_mlp(
    depth: int, act: Callable[[], nn.Module], *, width: int = 64, inputs: int = PIXELS, outputs: int = CLASSES
) -> nn.Sequential:
    """`depth` linear layers with an activation after each but the last."""
    sizes = [inputs, *[width] * (depth - 1), outputs]
    layers = [part for fan_in, fan_out in pairwise(sizes) for part in (nn.Linear(fan_in, fan_out), act())]
    return nn.Sequential(*layers[:-1])


def init_he(network: nn.Module) -> nn.Module:
    """The network with He-initialised weights and zero biases."""
    return fill_weights(network, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))


def init_glorot(network: nn.Module) -> nn.Module:
    """The network with Glorot-initialised weights and zero biases."""
    return fill_weights(network, nn.init.xavier_uniform_)


def fill_weights(network: nn.Module, fill: Callable[[Tensor], object]) -> nn.Module:
    """The network with weights filled by `fill` and zero biases."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def scale_weights(network: nn.Module, factor: float) -> nn.Module:
    """The network with all weights times `factor`; biases stay."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(factor if parameter.ndim > 1 else 1.0)
    return network


def init_dead_biases(network: nn.Module) -> nn.Module:
    """The network with biases of -2, at which ReLUs are dead."""
    for module in network.modules():
        if isinstance(module, nn.Linear) and module.out_features != CLASSES:
            nn.init.constant_(module.bias, -2.0)
    return network


def build_cnn(depth: int, act: Callable[[], nn.Module], *, channels: int = 8, norm: bool = False) -> nn.Sequential:
    """`depth` 3 x 3 convolutions at full size, and a linear layer on the means over the quarters of the image."""
    sizes = [1, *[channels] * depth]
    parts: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        parts += [nn.Conv2d(fan_in, fan_out, 3, padding=1), *([nn.BatchNorm2d(fan_out)] if norm else []), act()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, CLASSES))


class RecurrentNetwork(nn.Module):
    """A recurrent layer, and a linear layer on its last state."""

    def __init__(self, kind: type[nn.RNNBase], inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.recurrence = kind(inputs, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrence(x)
        return self.head(states[:, -1]).squeeze(-1)


class ResidualStack(nn.Module):
    """A stack of residual blocks of two layers without normalisation, He-initialised."""

    def __init__(self, blocks: int, width: int = 64) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([build_mlp(2, nn.ReLU, width=width, inputs=width, outputs=width) for _ in range(blocks)])
        self.head = nn.Linear(width, CLASSES)
        init_he(self)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Transformer(nn.Module):
    """Post-norm transformer layers over the lines of an image, and a linear layer on their mean."""

    def __init__(self, depth: int, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(torch.randn(8, width) / math.sqrt(width))
        layers = [nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True) for _ in range(depth)]
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))
