"""The data of the experiments: small, real, and the same for every seed; and the adding problem, where memory is the point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split
from torch import Tensor

SHARE = 0.2  # of the rows, held out
SPLIT = 0  # one split for all seeds


@dataclass(frozen=True, slots=True)
class Table:
    """Rows and labels, and those that are held out."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    def standardised(self, *, each: bool) -> Table:
        """The same with mean 0 and deviation 1 over the training rows: of each feature, or of all numbers together."""
        over = (0,) if each else tuple(range(self.x.ndim))
        mean, deviation = self.x.mean(over), self.x.std(over).clamp(min=1e-6)
        return Table((self.x - mean) / deviation, self.y, (self.x_test - mean) / deviation, self.y_test)


@cache
def raw(name: str) -> Table:
    """A table of scikit-learn's as it is: "digits", "wine", "breast_cancer" or "diabetes"."""
    bunch = getattr(datasets, f"load_{name}")()
    targets = bunch.target if name != "diabetes" else (bunch.target - bunch.target.mean()) / bunch.target.std()
    parts = train_test_split(bunch.data, targets, test_size=SHARE, random_state=SPLIT)
    x, x_test, y, y_test = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
    whole = (y.long(), y_test.long()) if name != "diabetes" else (y.float(), y_test.float())
    return Table(x.float(), whole[0], x_test.float(), whole[1])


@cache
def digits() -> Table:
    """Digits of 8 x 8 pixels as rows of 64 numbers, standardised as a whole."""
    return raw("digits").standardised(each=False)


@cache
def images() -> Table:
    """The same as images with one channel."""
    return reshaped(1, 8, 8)


@cache
def lines() -> Table:
    """The same as sequences: eight lines of eight pixels."""
    return reshaped(8, 8)


def reshaped(*shape: int) -> Table:
    """The digits in another shape."""
    table = digits()
    return Table(table.x.reshape(-1, *shape), table.y, table.x_test.reshape(-1, *shape), table.y_test)


Batches = Callable[[int], Iterator[tuple[Tensor, Tensor]]]
"""The batches of a training, for a seed."""


def batches(table: Callable[[], Table], *, size: int, steps: int) -> Batches:
    """Batches of shuffled rows, each row once before any comes again."""

    def drawn(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        data, generator, order = table(), torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.long)
        for _ in range(steps):
            if len(order) < size:
                order = torch.randperm(len(data.x), generator=generator)
            rows, order = order[:size], order[size:]
            yield data.x[rows], data.y[rows]

    return drawn


def adding(length: int, *, size: int, steps: int) -> Batches:
    """The adding problem: of numbers in [0, 1], add the two that are marked, one in each half (Hochreiter 1997)."""

    def drawn(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            yield sums(length, size, generator)

    return drawn


def sums(length: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One batch of the adding problem (batch, length, 2), and the sums."""
    numbers, marks, rows = torch.rand(size, length, generator=generator), torch.zeros(size, length), torch.arange(size)
    for start in (0, length // 2):
        marks[rows, start + torch.randint(length // 2, (size,), generator=generator)] = 1.0
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(1)
