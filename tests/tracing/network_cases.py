"""Small networks of every kind in float64, each with inputs, a loss and the name of an early parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class NetworkCase:
    """A network, what it is called with, its loss, and a parameter far from the loss."""

    model: nn.Module
    inputs: Any
    loss: Callable[[Any], Tensor]
    early: str


def _classification(shape: tuple[int, ...], early: str, *layers: nn.Module | nn.Sequential) -> NetworkCase:
    model = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
    targets = torch.randint(0, 5, (shape[0],))
    return NetworkCase(model, torch.randn(shape), lambda outputs: F.cross_entropy(outputs, targets), early)


def mlp() -> NetworkCase:
    hidden = [layer for _ in range(6) for layer in (nn.Linear(16, 16), nn.Sigmoid())]
    return _classification((8, 16), "0.weight", *hidden, nn.Linear(16, 5))


def vgg() -> NetworkCase:
    def stage(channels: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]

    return _classification((4, 3, 8, 8), "0.weight", *stage(3, 8), *stage(8, 12), nn.Flatten(), nn.Linear(48, 5))


class Block(nn.Module):
    def __init__(self, channels: int, *, normed: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=not normed)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=not normed)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) if normed else nn.Identity() for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(inner)))


def resnet(*, normed: bool) -> NetworkCase:
    blocks = [Block(8, normed=normed) for _ in range(4)]
    return _classification(
        (4, 3, 8, 8), "0.weight", nn.Conv2d(3, 8, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(5)])
        self.head = nn.Linear(23, 5)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, torch.tanh(layer(x))], dim=1)
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)])
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ModuleList([nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)])
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for layer in self.down:
            x = F.silu(layer(x))
            kept.append(x)
            x = F.max_pool2d(x, 2)
        x = F.silu(self.middle(x))
        for layer in self.up:
            x = F.interpolate(x, scale_factor=2.0)
            x = F.silu(layer(torch.cat([x, kept.pop()], dim=1)))
        return self.head(x)


def unet() -> NetworkCase:
    x = torch.randn(2, 3, 8, 8)
    target = torch.randn(2, 1, 8, 8)
    return NetworkCase(UNet(), x, lambda outputs: F.mse_loss(outputs, target), "down.0.weight")


class EncoderNetwork(nn.Module):
    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


def encoder(*, norm_first: bool) -> NetworkCase:
    return _classification((4, 6, 16), "encoder.layers.0.linear1.weight", EncoderNetwork(norm_first=norm_first))


class RecurrentClassifier(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.body = kind(4, 8, batch_first=True, **options)
        self.head = nn.Linear(8 * (2 if options.get("bidirectional") else 1), 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][:, -1])


def recurrent(kind: type[nn.RNNBase], **options: Any) -> NetworkCase:
    return _classification((4, 12, 4), "body.weight_hh_l0", RecurrentClassifier(kind, **options))


class LoopByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.again, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            state = torch.tanh(self.enter(x[:, t]) + self.again(state))
        return self.head(state)


def unrolled() -> NetworkCase:
    return _classification((4, 12, 4), "again.weight", LoopByHand())


class SharedWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.same, self.act, self.head = nn.Linear(16, 16), nn.ELU(), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = self.act(self.same(x))
        return self.head(x)


class Halving(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float, y: Tensor) -> tuple[Tensor, Tensor]:
        ctx.factor = factor
        return x * factor, y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor]:
        return gradients[0] * ctx.factor, None, gradients[1]


class CustomFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        a, b = Halving.apply(self.first(x), 0.5, x)
        return self.head(torch.tanh(a) + b)


class InPlaceOperations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x *= 1.5
        h = self.first(x)
        h[:, :4] = 0.25 * h[:, 4:8]
        h = self.second(h.relu_())
        h += x
        return self.head(F.elu(h, inplace=True))


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh()) for _ in range(3)])
        self.head, self.reentrant = nn.Linear(16, 5), reentrant

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = checkpoint(stage, x, use_reentrant=self.reentrant)
        return self.head(x)


class TwoInputsAndOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(6, 8), nn.Linear(10, 8), nn.Linear(8, 5)

    def forward(self, a: Tensor, *, b: Tensor) -> dict[str, Tensor]:
        hidden = torch.tanh(self.left(a)) * torch.sigmoid(self.right(b))
        return {"logits": self.head(hidden), "hidden": hidden}


def two_ends() -> NetworkCase:
    targets = torch.randint(0, 5, (4,))

    def loss(outputs: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs["logits"], targets) + 0.1 * outputs["hidden"].square().mean()

    return NetworkCase(TwoInputsAndOutputs(), {"a": torch.randn(4, 6), "b": torch.randn(4, 10)}, loss, "left.weight")


CASES: dict[str, Callable[[], NetworkCase]] = {
    "mlp": mlp,
    "vgg": vgg,
    "resnet": lambda: resnet(normed=False),
    "resnet with batch norm": lambda: resnet(normed=True),
    "densenet": lambda: _classification((2, 3, 6, 6), "layers.0.weight", Dense()),
    "u-net": unet,
    "post-norm transformer": lambda: encoder(norm_first=False),
    "pre-norm transformer": lambda: encoder(norm_first=True),
    "lstm": lambda: recurrent(nn.LSTM),
    "stacked bidirectional lstm": lambda: recurrent(nn.LSTM, num_layers=2, bidirectional=True),
    "gru": lambda: recurrent(nn.GRU),
    "rnn": lambda: recurrent(nn.RNN),
    "rnn by hand": unrolled,
    "shared weights": lambda: _classification((4, 16), "same.weight", SharedWeights()),
    "custom function": lambda: _classification((4, 16), "first.weight", CustomFunction()),
    "in-place operations": lambda: _classification((4, 16), "first.weight", InPlaceOperations()),
    "checkpoints": lambda: _classification((4, 16), "stages.0.0.weight", Checkpointed(reentrant=False)),
    "reentrant checkpoints": lambda: _classification((4, 16), "stages.0.0.weight", Checkpointed(reentrant=True)),
    "several inputs and outputs": two_ends,
}


def build_case(name: str, *, seed: int = 0) -> NetworkCase:
    """The network of that name, in float64, from that seed."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return CASES[name]()
    finally:
        torch.set_default_dtype(before)
