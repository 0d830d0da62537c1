"""Small networks to try remedies on, one for each way of building one that matters, with what trains them. None is ever large.

Most are sick in the way that remedies treat: they saturate, go deep without a path, or squeeze their output. All of them train.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

ROWS, FEATURES, WIDTH, CLASSES = 8, 6, 6, 3
TIMES, WORDS, SIDE = 5, 11, 6
RATE = 1e-3


@dataclass(frozen=True, slots=True)
class Patient:
    """A network that a remedy is tried on: how it is built, the batch that it takes, what judges its outputs, what trains it.

    `build` and `batch` are called with torch's random generator seeded, and may draw from it.
    """

    build: Callable[[], nn.Module]
    batch: Callable[[], Any]
    optimizer: Callable[[nn.Module], Optimizer]
    loss: Callable[[Any], Tensor]


def judged(outputs: Tensor) -> Tensor:
    """The cross entropy of class scores against made-up labels, one a row, all classes among them."""
    return F.cross_entropy(outputs, torch.arange(len(outputs)) % CLASSES)


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained, each once."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def by_adam(network: nn.Module) -> Optimizer:
    """Adam over all that is trained."""
    return Adam(trainable(network), lr=RATE)


def by_sgd(network: nn.Module) -> Optimizer:
    """Descent with momentum over all that is trained."""
    return SGD(trainable(network), lr=RATE, momentum=0.9)


def by_groups(network: nn.Module) -> Optimizer:
    """AdamW with matrices that decay in one group, and all else in another."""
    found = trainable(network)
    matrices, others = [p for p in found if p.ndim > 1], [p for p in found if p.ndim < 2]
    return AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=RATE)


class Functional(nn.Module):
    """Activations that are called and no modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.third, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        x = torch.sigmoid(self.first(x))
        x = torch.tanh(self.second(x))
        return self.out(F.relu(self.third(x)))


class Listed(nn.Module):
    """Layers in a ModuleList that a loop runs through, and an activation module for each."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(FEATURES, FEATURES) for _ in range(4)])
        self.acts = nn.ModuleList([nn.Tanh() for _ in range(4)])
        self.out = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        for layer, act in zip(self.layers, self.acts, strict=True):
            x = act(layer(x))
        return self.out(x)


class Block(nn.Module):
    """Two layers around which the signal also flows unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.squash = nn.Linear(WIDTH, WIDTH), nn.Tanh()
        self.second, self.bend = nn.Linear(WIDTH, WIDTH), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """The signal and what the layers make of it."""
        return x + self.bend(self.second(self.squash(self.first(x))))


class Nested(nn.Module):
    """Containers within containers, with residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.Sequential(nn.Tanh(), nn.Dropout(0.1)))
        self.body = nn.Sequential(Block(), Block())
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        return self.head(self.body(self.stem(x)))


class Shared(nn.Module):
    """One layer that runs twice, and one activation module for all places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer, self.out = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        x = self.act(self.stem(x))
        return self.out(self.act(self.layer(self.act(self.layer(x)))))


class Tied(nn.Module):
    """Two layers with one weight, and biases of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)
        self.two.weight = self.one.weight
        self.act_one, self.act_two = nn.Sigmoid(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        return self.out(self.act_two(self.two(self.act_one(self.one(x)))))


class FunctionalCnn(nn.Module):
    """Convolutions whose activations are called."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.out = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of images."""
        x = F.max_pool2d(torch.tanh(self.first(x)), 2)
        return self.out(F.relu(self.second(x)).mean((2, 3)))


class Recurrent(nn.Module):
    """A recurrent layer of torch, read at the last step."""

    def __init__(self, kind: type[nn.RNN | nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.recurrence = kind(FEATURES, WIDTH, batch_first=True)
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of sequences (batch, time, features)."""
        return self.out(self.recurrence(x)[0][:, -1])


class HandWritten(nn.Module):
    """A recurrence that is written out: one layer for the input, one for the state, a loop over time."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.turn, self.out = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of sequences (batch, time, features)."""
        state = x.new_zeros(len(x), WIDTH)
        for moment in x.unbind(1):
            state = torch.tanh(self.read(moment) + self.turn(state))
        return self.out(state)


class Encoder(nn.Module):
    """Torch's transformer encoder, post-norm as it is by default."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(FEATURES, 2, 8, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of sequences (batch, time, features)."""
        return self.out(self.encoder(x).mean(1))


class PostNorm(nn.Module):
    """A transformer block that is written out: each sum is normalised behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(FEATURES, 2, batch_first=True)
        self.wide, self.narrow = nn.Linear(FEATURES, 8), nn.Linear(8, FEATURES)
        self.norm1, self.norm2 = nn.LayerNorm(FEATURES), nn.LayerNorm(FEATURES)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The signal (batch, time, features) after attention and a feed-forward part."""
        x = self.norm1(x + self.attend(x, x, x, need_weights=False)[0])
        return self.norm2(x + self.narrow(self.act(self.wide(x))))


class PostNormEncoder(nn.Module):
    """Two transformer blocks that are written out."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([PostNorm(), PostNorm()])
        self.out = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of sequences (batch, time, features)."""
        for block in self.blocks:
            x = block(x)
        return self.out(x.mean(1))


class Gated(nn.Module):
    """A sigmoid that gates another signal, and must stay one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Linear(FEATURES, WIDTH), nn.Tanh()
        self.squeeze, self.gate = nn.Linear(WIDTH, WIDTH), nn.Sigmoid()
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        x = self.act(self.first(x))
        return self.out(x * self.gate(self.squeeze(x)))


class Branching(nn.Module):
    """A forward pass that depends on a value, so that it cannot be traced without an example."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.act_one, self.act_two = nn.Sigmoid(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        x = self.act_one(self.first(-x if x.sum() > 0 else x))
        return self.out(self.act_two(self.second(x)))


class Words(nn.Module):
    """A text model: words are looked up, averaged and classified, and padding is skipped."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.mix, self.act = nn.Linear(WIDTH, WIDTH), nn.Tanh()
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        """Class scores of a batch of texts (batch, words) as numbers of words."""
        return self.out(self.act(self.mix(self.embed(words).mean(1))))


def mlp() -> nn.Module:
    """Four layers, three sigmoids."""
    return nn.Sequential(
        nn.Linear(FEATURES, WIDTH),
        nn.Sigmoid(),
        nn.Linear(WIDTH, WIDTH),
        nn.Sigmoid(),
        nn.Linear(WIDTH, WIDTH),
        nn.Sigmoid(),
        nn.Linear(WIDTH, CLASSES),
    )


def cnn() -> nn.Module:
    """Convolutions, one of them grouped, a pool, and layers behind them."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Sigmoid(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, CLASSES),
    )


def partly_frozen() -> nn.Module:
    """The first layer is not trained."""
    network = mlp()
    for parameter in network.get_submodule("0").parameters():
        parameter.requires_grad_(False)
    return network


def normalised() -> nn.Module:
    """Batch normalisation before one activation of two, and dropout."""
    return nn.Sequential(
        nn.Linear(FEATURES, WIDTH),
        nn.BatchNorm1d(WIDTH),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(WIDTH, WIDTH),
        nn.Tanh(),
        nn.Linear(WIDTH, CLASSES),
    )


def softmaxed() -> nn.Module:
    """A softmax at the output, whose loss has another inside."""
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES), nn.Softmax(-1))


def rows() -> Tensor:
    """A batch of rows, off centre and out of scale, as measured data is."""
    return torch.randn(ROWS, FEATURES) * torch.linspace(0.5, 2.0, FEATURES) + 0.5


def images() -> Tensor:
    """A batch of images with one channel."""
    return torch.randn(ROWS, 1, SIDE, SIDE)


def sequences() -> Tensor:
    """A batch of sequences (batch, time, features)."""
    return torch.randn(ROWS, TIMES, FEATURES)


def texts() -> Tensor:
    """A batch of texts as numbers of words; the last word is padding."""
    words = torch.randint(1, WORDS, (ROWS, TIMES))
    words[:, -1] = 0
    return words


PATIENTS: Mapping[str, Patient] = MappingProxyType(
    {
        "mlp": Patient(mlp, rows, by_adam, judged),
        "functional mlp": Patient(Functional, rows, by_sgd, judged),
        "module list": Patient(Listed, rows, by_groups, judged),
        "residual blocks": Patient(Nested, rows, by_adam, judged),
        "shared module": Patient(Shared, rows, by_adam, judged),
        "tied weights": Patient(Tied, rows, by_adam, judged),
        "cnn": Patient(cnn, images, by_sgd, judged),
        "functional cnn": Patient(FunctionalCnn, images, by_adam, judged),
        "rnn": Patient(lambda: Recurrent(nn.RNN), sequences, by_adam, judged),
        "lstm": Patient(lambda: Recurrent(nn.LSTM), sequences, by_adam, judged),
        "hand-written recurrence": Patient(HandWritten, sequences, by_sgd, judged),
        "transformer encoder": Patient(Encoder, sequences, by_groups, judged),
        "post-norm blocks": Patient(PostNormEncoder, sequences, by_adam, judged),
        "gated": Patient(Gated, rows, by_adam, judged),
        "branching forward": Patient(Branching, rows, by_adam, judged),
        "embedding": Patient(Words, texts, by_adam, judged),
        "float64 mlp": Patient(lambda: mlp().double(), lambda: rows().double(), by_adam, judged),
        "float16 mlp": Patient(lambda: mlp().half(), lambda: rows().half(), by_sgd, judged),
        "partly frozen": Patient(partly_frozen, rows, by_adam, judged),
        "batch-normalised": Patient(normalised, rows, by_adam, judged),
        "softmax output": Patient(softmaxed, rows, by_adam, judged),
    }
)
