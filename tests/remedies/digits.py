"""Handwritten digits, and short trainings on them: whether a remedy teaches what it should."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import Optimizer


def digits() -> tuple[Tensor, Tensor]:
    """1797 images of 64 pixels between 0 and 1, and what they show."""
    data = load_digits()
    return torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)


def chain(depth: int, activation: Callable[[], nn.Module], *, width: int = 32, seed: int = 0) -> nn.Sequential:
    """So many layers with an activation behind each, and a classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [part for at in range(depth) for part in (nn.Linear(width if at else 64, width), activation())]
        return nn.Sequential(*layers, nn.Linear(width, 10))


def trained_loss(network: nn.Module, optimizer: Optimizer, *, steps: int, images: Tensor | None = None, rows: int = 128) -> float:
    """The loss over all digits after so many steps on batches drawn with a seed."""
    pixels, labels = digits()
    pixels = pixels if images is None else images
    order = torch.Generator().manual_seed(1)
    for _ in range(steps):
        batch = torch.randperm(len(pixels), generator=order)[:rows]
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pixels[batch]), labels[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(network(pixels), labels))
