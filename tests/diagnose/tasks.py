"""Small tasks with generated data, small networks of many kinds, and one ordinary training loop under `unvanish.watch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import unvanish
from unvanish.workflows.watch import WatchedRun

MakeBatch = Callable[[int], tuple[Tensor, Tensor]]


def points(step: int, *, features: int = 20, classes: int = 4, batch: int = 64) -> tuple[Tensor, Tensor]:
    """A fresh batch of points whose class is that of the nearest of a few fixed centres."""
    centres = 1.5 * torch.randn(classes, features, generator=torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(100 + step)
    y = torch.randint(0, classes, (batch,), generator=generator)
    return centres[y] + torch.randn(batch, features, generator=generator), y


def waves(step: int, *, size: float = 1.0) -> tuple[Tensor, Tensor]:
    """Points on a line and a wave through them, of that size."""
    x = torch.linspace(-3, 3, 64)[:, None] + 0.01 * step % 0.1
    return x, size * torch.sin(2 * x)


def images(step: int, *, batch: int = 32) -> tuple[Tensor, Tensor]:
    """Images of 12 x 12 with a bright bar, across or upright."""
    generator = torch.Generator().manual_seed(200 + step)
    x = 0.3 * torch.randn(batch, 1, 12, 12, generator=generator)
    y = torch.randint(0, 2, (batch,), generator=generator)
    for i, upright in enumerate(y.tolist()):
        place = int(torch.randint(0, 12, (1,), generator=generator))
        x[i, 0].T[place] += 1.5 * upright
        x[i, 0][place] += 1.5 * (1 - upright)
    return x, y


def sequences(step: int, *, length: int = 12, batch: int = 32) -> tuple[Tensor, Tensor]:
    """Sequences of signs and whether their sum is positive."""
    x = torch.randn(batch, length, 3, generator=torch.Generator().manual_seed(300 + step))
    return x, (x[:, :, 0].sum(1) > 0).long()


def texts(step: int, *, words: int = 500, length: int = 10, batch: int = 32) -> tuple[Tensor, Tensor]:
    """Texts of word numbers, most of them rare; the class is whether a frequent word stands in it."""
    generator = torch.Generator().manual_seed(400 + step)
    x = (words * torch.rand(batch, length, generator=generator) ** 4).long()
    return x, (x < 3).any(1).long()


def mlp(
    widths: Sequence[int], activation: Callable[[], nn.Module], *, between: Callable[[int], nn.Module] | None = None
) -> nn.Sequential:
    """Linear layers of these widths with an activation, and something `between` if given, behind all but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), *([between(outputs)] if between is not None else []), activation()]
    return nn.Sequential(*layers[: 2 * len(widths) - 3] if between is None else layers[: 3 * len(widths) - 5])


def reinitialise(model: nn.Module, scheme: Callable[[Tensor], object]) -> nn.Module:
    """The model with its weight matrices drawn anew, and zero biases."""
    for parameter in model.parameters():
        scheme(parameter) if parameter.dim() > 1 else nn.init.zeros_(parameter)
    return model


def he_normal(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def train_watched(
    model: nn.Module,
    batches: MakeBatch,
    *,
    steps: int = 200,
    optimizer: torch.optim.Optimizer | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> WatchedRun:
    """The model trained on these batches, watched: an ordinary loop."""
    chosen = optimizer or torch.optim.Adam(model.parameters(), 2e-3)
    with unvanish.watch(model) as run:
        for step in range(steps):
            x, y = batches(step)
            chosen.zero_grad()
            loss(model(x), y).backward()
            chosen.step()
    return run


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = (nn.BatchNorm2d(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm2(self.two(F.relu(self.norm1(self.one(x))))))


class RecurrentClassifier(nn.Module):
    """A recurrent network with a head on its last state."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core, self.head = core, nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(x)[0][:, -1])


class TransformerClassifier(nn.Module):
    """Words, their places, a transformer encoder, and a head on the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(500, 16), nn.Parameter(0.02 * torch.randn(10, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.words(x) + self.places).mean(1))


class EmbeddingBagClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(500, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words(x))


class LayersInList(nn.Module):
    """Its hidden layers are held in a plain list, so that no optimizer is given them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(20, 24), nn.Linear(24, 4)
        self.hidden = [nn.Linear(24, 24) for _ in range(3)]

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.last(x)


class DetachedFeatures(nn.Module):
    """Somebody detached the features."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = mlp((20, 32, 32), nn.ReLU), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.features(x)).detach())


class VariationalAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp((20, 32, 8), nn.ELU), mlp((4, 32, 20), nn.ELU)

    def forward(self, x: Tensor) -> Tensor:
        mean, log_variance = self.encoder(x).chunk(2, 1)
        return self.decoder(mean + torch.randn_like(mean) * (log_variance / 2).exp())


class GatedResidualBlock(nn.Module):
    """A residual block whose branch is multiplied by a scalar that starts at zero (ReZero)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer, self.gate = nn.Linear(width, width), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate * F.relu(self.layer(x))


class MixtureOfExperts(nn.Module):
    """Four experts, of which each example asks one: in some steps one of them gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(20, 4), nn.ModuleList(mlp((20, 32, 4), nn.ReLU) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        shares = self.gate(x).softmax(1)
        chosen, out = shares.argmax(1), torch.zeros(len(x), 4)
        for number, expert in enumerate(self.experts):
            mine = chosen == number
            if mine.any():
                out[mine] = expert(x[mine]) * shares[mine][:, number : number + 1]
        return out
