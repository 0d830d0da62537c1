"""Six networks of different kinds, as they are before training: `unvanish check examples/networks.py:sigmoid`, and so on.

Each function returns the network, its inputs, and a loss or targets. The data are digits from scikit-learn, or made up.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn


def digits() -> tuple[Tensor, Tensor]:
    """128 images of handwritten digits, 64 pixels each with mean 0 and deviation 1, and what they show."""
    data = load_digits()
    pixels = torch.tensor(data.data[:128], dtype=torch.float32)
    return (pixels - pixels.mean()) / pixels.std(), torch.tensor(data.target[:128])


def chain(activation: type[nn.Module], depth: int, width: int = 64) -> nn.Sequential:
    """So many layers in a row, with an activation behind each, and a classifier at the end."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def sigmoid() -> tuple[nn.Module, Tensor, Tensor]:
    """Thirty sigmoid layers: sick, and the activation is why."""
    return chain(nn.Sigmoid, 30), *digits()


def relu() -> tuple[nn.Module, Tensor, Tensor]:
    """Thirty ReLU layers with PyTorch's own initialisation: sick, and the initial weights are why."""
    return chain(nn.ReLU, 30), *digits()


def tanh() -> tuple[nn.Module, Tensor, Tensor]:
    """Twelve tanh layers with Glorot's initialisation: healthy."""
    network = chain(nn.Tanh, 12)
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
    return network, *digits()


class Block(nn.Module):
    """Two convolutions with batch normalisation, and a path around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)])

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of the input's shape."""
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(inner)))


def resnet() -> tuple[nn.Module, Tensor, Tensor]:
    """A small residual network: healthy."""
    torch.manual_seed(0)
    blocks = [Block(16) for _ in range(6)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    images, labels = digits()
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), *blocks, *head), images.reshape(-1, 1, 8, 8), labels


class Reader(nn.Module):
    """A plain recurrent network that answers after the last of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.RNN(2, 64, batch_first=True)
        self.head = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One number for each sequence."""
        states, _ = self.body(x)
        return self.head(states[:, -1]).squeeze(1)


def recurrent() -> tuple[nn.Module, Tensor, Tensor]:
    """The adding problem over a hundred steps (Hochreiter 1997): sick, since nothing carries the gradient so far back."""
    torch.manual_seed(0)
    numbers, marks = torch.rand(32, 100), torch.zeros(32, 100)
    for row in marks:
        row[torch.randperm(100)[:2]] = 1.0
    return Reader(), torch.stack([numbers, marks], dim=2), (numbers * marks).sum(1)


class Translator(nn.Module):
    """A small transformer over integer tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(20, 32), nn.Embedding(16, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.out = nn.Linear(32, 20)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of every token at every place."""
        return self.out(self.encoder(self.tokens(x) + self.places(torch.arange(x.shape[1]))))


def transformer() -> tuple[nn.Module, Tensor, Tensor]:
    """Six pre-norm layers: healthy. The flow ends at the embedding, since integers have no gradient."""
    torch.manual_seed(0)
    sequences = torch.randint(0, 20, (16, 16))
    return Translator(), sequences, sequences.roll(1, dims=1)
