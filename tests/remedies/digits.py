"""Handwritten digits of scikit-learn, and short trainings on them, for tests of what a remedy improves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import Optimizer


def digits() -> tuple[Tensor, Tensor]:
    """1797 images of 64 pixels between 0 and 1, (1797, 64), and their labels, (1797,)."""
    data = load_digits()
    return torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)


def deep_network(depth: int, activation: Callable[[], nn.Module], *, width: int = 32, seed: int = 0) -> nn.Sequential:
    """`depth` Linear layers with an activation after each, and a classifier of ten classes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [part for at in range(depth) for part in (nn.Linear(width if at else 64, width), activation())]
        return nn.Sequential(*layers, nn.Linear(width, 10))


def loss_after_training(
    network: nn.Module, optimizer: Optimizer, *, steps: int, images: Tensor | None = None, rows: int = 128
) -> float:
    """The cross entropy over all digits after some steps on batches drawn with a fixed seed."""
    pixels, labels = digits()
    pixels = pixels if images is None else images
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        batch = torch.randperm(len(pixels), generator=generator)[:rows]
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pixels[batch]), labels[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(network(pixels), labels))
