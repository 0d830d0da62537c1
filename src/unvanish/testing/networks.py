"""Small sample networks on which remedies are tested, one for each way of building a network, with batch, loss and optimizer.

Most have a problem that remedies treat: saturation, depth without skip connections, or a squashed output. All can be trained.
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

BATCH_SIZE, FEATURES, WIDTH, CLASSES = 8, 6, 6, 3
SEQUENCE_LENGTH, VOCABULARY_SIZE, IMAGE_SIDE = 5, 11, 6
LEARNING_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class SampleNetwork:
    """A network on which a remedy is tested, as functions that build it and what trains it.

    `build` returns the network and `batch` its input; both are called with torch's global generator seeded, and may draw from it.
    `optimizer` takes the network; `loss` takes its output for the batch, and returns a scalar that can be differentiated.

    Example:
        >>> from torch import nn
        >>> sample = SampleNetwork(lambda: nn.Linear(6, 3), draw_rows, make_adam, class_loss)
        >>> network = sample.build()
        >>> sample.loss(network(sample.batch())).shape
        torch.Size([])
    """

    build: Callable[[], nn.Module]
    batch: Callable[[], Any]
    optimizer: Callable[[nn.Module], Optimizer]
    loss: Callable[[Any], Tensor]


def class_loss(outputs: Tensor) -> Tensor:
    """The cross entropy of class scores of shape (batch, 3) with the labels 0, 1, 2, 0, 1, ..."""
    return F.cross_entropy(outputs, torch.arange(len(outputs)) % CLASSES)


def list_trained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters with requires_grad, each once."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def make_adam(network: nn.Module) -> Optimizer:
    """Adam over all trained parameters."""
    return Adam(list_trained_parameters(network), lr=LEARNING_RATE)


def make_sgd(network: nn.Module) -> Optimizer:
    """SGD with momentum over all trained parameters."""
    return SGD(list_trained_parameters(network), lr=LEARNING_RATE, momentum=0.9)


def make_grouped_adamw(network: nn.Module) -> Optimizer:
    """AdamW with weight matrices, which decay, in one group, and all other parameters in another."""
    parameters = list_trained_parameters(network)
    matrices, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim < 2]
    return AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=LEARNING_RATE)


class FunctionalMlp(nn.Module):
    """Activations called as functions, not as modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.third, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        x = torch.sigmoid(self.first(x))
        x = torch.tanh(self.second(x))
        return self.out(F.relu(self.third(x)))


class ModuleListMlp(nn.Module):
    """Layers and activations in ModuleLists, called in a loop."""

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


class ResidualBlock(nn.Module):
    """Two layers with a skip connection around them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.squash = nn.Linear(WIDTH, WIDTH), nn.Tanh()
        self.second, self.bend = nn.Linear(WIDTH, WIDTH), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """The input plus the output of the layers."""
        return x + self.bend(self.second(self.squash(self.first(x))))


class NestedResidualMlp(nn.Module):
    """Containers within containers, with residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.Sequential(nn.Tanh(), nn.Dropout(0.1)))
        self.body = nn.Sequential(ResidualBlock(), ResidualBlock())
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        return self.head(self.body(self.stem(x)))


class SharedLayerMlp(nn.Module):
    """One layer that is called twice, and one activation module used everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer, self.out = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        x = self.act(self.stem(x))
        return self.out(self.act(self.layer(self.act(self.layer(x)))))


class TiedWeightsMlp(nn.Module):
    """Two layers that share one weight and have biases of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)
        self.two.weight = self.one.weight
        self.act_one, self.act_two = nn.Sigmoid(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        return self.out(self.act_two(self.two(self.act_one(self.one(x)))))


class FunctionalCnn(nn.Module):
    """Convolutions with activations called as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.out = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of images."""
        x = F.max_pool2d(torch.tanh(self.first(x)), 2)
        return self.out(F.relu(self.second(x)).mean((2, 3)))


class RecurrentClassifier(nn.Module):
    """A recurrent layer of torch, and a classifier of its last state."""

    def __init__(self, kind: type[nn.RNN | nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.recurrence = kind(FEATURES, WIDTH, batch_first=True)
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of sequences (batch, time, features)."""
        return self.out(self.recurrence(x)[0][:, -1])


class HandWrittenRnn(nn.Module):
    """A recurrence written as a loop over time, with one layer for the input and one for the state."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.turn, self.out = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of sequences (batch, time, features)."""
        state = x.new_zeros(len(x), WIDTH)
        for x_t in x.unbind(1):  # (batch, features)
            state = torch.tanh(self.read(x_t) + self.turn(state))
        return self.out(state)


class EncoderClassifier(nn.Module):
    """torch's transformer encoder, post-norm by default."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(FEATURES, 2, 8, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of sequences (batch, time, features)."""
        return self.out(self.encoder(x).mean(1))


class PostNormBlock(nn.Module):
    """A post-norm transformer block written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(FEATURES, 2, batch_first=True)
        self.wide, self.narrow = nn.Linear(FEATURES, 8), nn.Linear(8, FEATURES)
        self.norm1, self.norm2 = nn.LayerNorm(FEATURES), nn.LayerNorm(FEATURES)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The output (batch, time, features) of attention and feed-forward part."""
        x = self.norm1(x + self.attend(x, x, x, need_weights=False)[0])
        return self.norm2(x + self.narrow(self.act(self.wide(x))))


class PostNormEncoder(nn.Module):
    """Two hand-written transformer blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([PostNormBlock(), PostNormBlock()])
        self.out = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of sequences (batch, time, features)."""
        for block in self.blocks:
            x = block(x)
        return self.out(x.mean(1))


class GatedMlp(nn.Module):
    """A sigmoid used as a gate, which a remedy must not replace."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Linear(FEATURES, WIDTH), nn.Tanh()
        self.squeeze, self.gate = nn.Linear(WIDTH, WIDTH), nn.Sigmoid()
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        x = self.act(self.first(x))
        return self.out(x * self.gate(self.squeeze(x)))


class ValueDependentMlp(nn.Module):
    """A forward pass with a branch on a value, which symbolic tracing cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.act_one, self.act_two = nn.Sigmoid(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of a batch of rows."""
        x = self.act_one(self.first(-x if x.sum() > 0 else x))
        return self.out(self.act_two(self.second(x)))


class TextClassifier(nn.Module):
    """A text classifier: the mean of word embeddings, with padding, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY_SIZE, WIDTH, padding_idx=0)
        self.mix, self.act = nn.Linear(WIDTH, WIDTH), nn.Tanh()
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        """Class scores of a batch of texts (batch, words) as word indices."""
        return self.out(self.act(self.mix(self.embed(words).mean(1))))


def build_mlp() -> nn.Module:
    """Four linear layers with sigmoids between them."""
    return nn.Sequential(
        nn.Linear(FEATURES, WIDTH),
        nn.Sigmoid(),
        nn.Linear(WIDTH, WIDTH),
        nn.Sigmoid(),
        nn.Linear(WIDTH, WIDTH),
        nn.Sigmoid(),
        nn.Linear(WIDTH, CLASSES),
    )


def build_cnn() -> nn.Module:
    """Convolutions, one of them grouped, a pooling layer, and linear layers."""
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


def build_partly_frozen() -> nn.Module:
    """An MLP with its first layer frozen."""
    network = build_mlp()
    for parameter in network.get_submodule("0").parameters():
        parameter.requires_grad_(False)
    return network


def build_batch_normalised() -> nn.Module:
    """An MLP with batch normalisation before one of two activations, and dropout."""
    return nn.Sequential(
        nn.Linear(FEATURES, WIDTH),
        nn.BatchNorm1d(WIDTH),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(WIDTH, WIDTH),
        nn.Tanh(),
        nn.Linear(WIDTH, CLASSES),
    )


def build_softmax_output() -> nn.Module:
    """An MLP with a softmax at its output, though cross entropy has one inside."""
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES), nn.Softmax(-1))


def draw_rows() -> Tensor:
    """A batch of rows (batch, features) with mean and scale off 0 and 1, like measured data."""
    return torch.randn(BATCH_SIZE, FEATURES) * torch.linspace(0.5, 2.0, FEATURES) + 0.5


def draw_images() -> Tensor:
    """A batch of images (batch, 1, height, width)."""
    return torch.randn(BATCH_SIZE, 1, IMAGE_SIDE, IMAGE_SIDE)


def draw_sequences() -> Tensor:
    """A batch of sequences (batch, time, features)."""
    return torch.randn(BATCH_SIZE, SEQUENCE_LENGTH, FEATURES)


def draw_texts() -> Tensor:
    """A batch of texts (batch, words) as word indices; the last word is padding."""
    words = torch.randint(1, VOCABULARY_SIZE, (BATCH_SIZE, SEQUENCE_LENGTH))
    words[:, -1] = 0
    return words


SAMPLE_NETWORKS: Mapping[str, SampleNetwork] = MappingProxyType(
    {
        "mlp": SampleNetwork(build_mlp, draw_rows, make_adam, class_loss),
        "functional mlp": SampleNetwork(FunctionalMlp, draw_rows, make_sgd, class_loss),
        "module list": SampleNetwork(ModuleListMlp, draw_rows, make_grouped_adamw, class_loss),
        "residual blocks": SampleNetwork(NestedResidualMlp, draw_rows, make_adam, class_loss),
        "shared module": SampleNetwork(SharedLayerMlp, draw_rows, make_adam, class_loss),
        "tied weights": SampleNetwork(TiedWeightsMlp, draw_rows, make_adam, class_loss),
        "cnn": SampleNetwork(build_cnn, draw_images, make_sgd, class_loss),
        "functional cnn": SampleNetwork(FunctionalCnn, draw_images, make_adam, class_loss),
        "rnn": SampleNetwork(lambda: RecurrentClassifier(nn.RNN), draw_sequences, make_adam, class_loss),
        "lstm": SampleNetwork(lambda: RecurrentClassifier(nn.LSTM), draw_sequences, make_adam, class_loss),
        "hand-written recurrence": SampleNetwork(HandWrittenRnn, draw_sequences, make_sgd, class_loss),
        "transformer encoder": SampleNetwork(EncoderClassifier, draw_sequences, make_grouped_adamw, class_loss),
        "post-norm blocks": SampleNetwork(PostNormEncoder, draw_sequences, make_adam, class_loss),
        "gated": SampleNetwork(GatedMlp, draw_rows, make_adam, class_loss),
        "branching forward": SampleNetwork(ValueDependentMlp, draw_rows, make_adam, class_loss),
        "embedding": SampleNetwork(TextClassifier, draw_texts, make_adam, class_loss),
        "float64 mlp": SampleNetwork(lambda: build_mlp().double(), lambda: draw_rows().double(), make_adam, class_loss),
        "float16 mlp": SampleNetwork(lambda: build_mlp().half(), lambda: draw_rows().half(), make_sgd, class_loss),
        "partly frozen": SampleNetwork(build_partly_frozen, draw_rows, make_adam, class_loss),
        "batch-normalised": SampleNetwork(build_batch_normalised, draw_rows, make_adam, class_loss),
        "softmax output": SampleNetwork(build_softmax_output, draw_rows, make_adam, class_loss),
    }
)
