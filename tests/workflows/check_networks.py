"""Networks before any training, each with inputs and a loss or targets: those that should train, and those that should not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Made = tuple[nn.Module, Any, Any]
WIDTH, CLASSES, BATCH = 32, 5, 32


def points(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs of `WIDTH` numbers, and classes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, WIDTH, generator=generator), torch.randint(0, CLASSES, (BATCH,), generator=generator)


def mlp(activation: Callable[[], nn.Module], depth: int, draw: Callable[[Tensor], Any] | None = None) -> Made:
    """`depth` hidden layers of that activation; `draw` fills the weights."""
    torch.manual_seed(0)
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(WIDTH, WIDTH), activation())]
    model = nn.Sequential(*hidden, nn.Linear(WIDTH, CLASSES))
    for module in model.modules():
        if draw is not None and isinstance(module, nn.Linear):
            draw(module.weight)
            nn.init.zeros_(module.bias)
    return model, *points()


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = (nn.BatchNorm2d(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm2(self.second(F.relu(self.norm1(self.first(x))))))


def resnet() -> Made:
    """Six residual blocks with batch normalisation."""
    torch.manual_seed(0)
    blocks = [Residual(8) for _ in range(6)]
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    return model, torch.randn(8, 1, 6, 6), torch.randint(0, CLASSES, (8,))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(20, 16), nn.Embedding(12, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False), nn.Linear(16, 20)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.words(x) + self.places(torch.arange(x.shape[1]))))


def transformer() -> Made:
    """Six layers, normalised before attention, of integers."""
    torch.manual_seed(0)
    x = torch.randint(0, 20, (8, 12))
    return Transformer(), x, x.roll(-1, 1)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)])
        self.up = nn.ModuleList([nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)])
        self.middle, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for layer in self.down:
            kept.append(F.relu(layer(x)))
            x = F.max_pool2d(kept[-1], 2)
        x = F.relu(self.middle(x))
        for layer in self.up:
            x = F.relu(layer(torch.cat([F.interpolate(x, scale_factor=2.0), kept.pop()], dim=1)))
        return self.head(x)


def unet() -> Made:
    """Two steps down, two up, with paths across; its targets are images."""
    torch.manual_seed(0)
    return UNet(), torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8)


class Reader(nn.Module):
    """A recurrence of which the last step is read."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.body, self.head = kind(2, 32, batch_first=True, **options), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][:, -1])


def reader(kind: type[nn.RNNBase], steps: int, **options: Any) -> Made:
    """It, and sequences of so many steps."""
    torch.manual_seed(0)
    return Reader(kind, **options), torch.rand(8, steps, 2), torch.rand(8, 1)


def stretching() -> Made:
    """A ReLU recurrence that doubles what passes."""
    model, x, y = reader(nn.RNN, 40, nonlinearity="relu")
    with torch.no_grad():
        matrix = model.get_parameter("body.weight_hh_l0")
        nn.init.normal_(matrix)
        matrix *= 2.0 / torch.linalg.eigvals(matrix).abs().max()
    return model, x, y


class LanguageModel(nn.Module):
    """An LSTM of which every step is read."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.body, self.head = nn.Embedding(20, 16), nn.LSTM(16, 32, batch_first=True), nn.Linear(32, 20)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.words(x))[0])


def language_model() -> Made:
    """It, and sequences of 60 steps."""
    torch.manual_seed(0)
    x = torch.randint(0, 20, (8, 60))
    return LanguageModel(), x, x.roll(-1, 1)


def glorot_tanh() -> Made:
    return mlp(nn.Tanh, 12, nn.init.xavier_normal_)


def he_relu() -> Made:
    return mlp(nn.ReLU, 12, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))


def small() -> Made:
    return mlp(nn.ReLU, 2)


def gru() -> Made:
    return reader(nn.GRU, 100)


def deep_sigmoid() -> Made:
    return mlp(nn.Sigmoid, 30)


def deep_relu() -> Made:
    return mlp(nn.ReLU, 30)


def large_relu() -> Made:
    return mlp(nn.ReLU, 20, lambda weight: nn.init.normal_(weight, std=0.8))


def rnn() -> Made:
    return reader(nn.RNN, 100)


def zeros() -> Made:
    return mlp(nn.ReLU, 4, nn.init.zeros_)


def constant() -> Made:
    return mlp(nn.Tanh, 4, lambda weight: nn.init.constant_(weight, 0.1))


HEALTHY = (resnet, transformer, gru, glorot_tanh, he_relu, unet, small, language_model)
# What should not train, with the code of its first finding and its cause.
SICK = (
    (deep_sigmoid, "vanishing-gradient", "saturating-activation"),
    (deep_relu, "vanishing-gradient", "off-critical-init"),
    (large_relu, "exploding-gradient", "off-critical-init"),
    (rnn, "vanishing-through-time", "recurrence-without-gate"),
    (stretching, "exploding-through-time", "off-critical-init"),
    (constant, "symmetric-init", "symmetric-init"),
)
