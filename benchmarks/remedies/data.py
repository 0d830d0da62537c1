"""The data of the experiments: small data sets of scikit-learn, split the same way for every seed, and the adding problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split
from torch import Tensor

TEST_FRACTION = 0.2  # of the rows, held out
SPLIT_SEED = 0  # one split for all seeds


@dataclass(frozen=True, slots=True)
class Dataset:
    """Inputs and labels to train on, and those held out to test."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    def standardised(self, *, per_feature: bool) -> Dataset:
        """The same with mean 0 and standard deviation 1 on the training rows: for each feature, or over all numbers together."""
        over = (0,) if per_feature else tuple(range(self.x.ndim))
        mean, deviation = self.x.mean(over), self.x.std(over).clamp(min=1e-6)
        return Dataset((self.x - mean) / deviation, self.y, (self.x_test - mean) / deviation, self.y_test)


@cache
def load_raw(name: str) -> Dataset:
    """A data set of scikit-learn without scaling: "digits", "wine", "breast_cancer" or "diabetes"."""
    bunch = getattr(datasets, f"load_{name}")()
    targets = bunch.target if name != "diabetes" else (bunch.target - bunch.target.mean()) / bunch.target.std()
    parts = train_test_split(bunch.data, targets, test_size=TEST_FRACTION, random_state=SPLIT_SEED)
    x, x_test, y, y_test = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
    labels = (y.long(), y_test.long()) if name != "diabetes" else (y.float(), y_test.float())
    return Dataset(x.float(), labels[0], x_test.float(), labels[1])


@cache
def load_digit_rows() -> Dataset:
    """Digits of shape (count, 64), standardised over all pixels."""
    return load_raw("digits").standardised(per_feature=False)


@cache
def load_digit_images() -> Dataset:
    """The digits as images of shape (count, 1, 8, 8)."""
    return reshape_digits(1, 8, 8)


@cache
def load_digit_lines() -> Dataset:
    """The digits as sequences of eight lines, of shape (count, 8, 8)."""
    return reshape_digits(8, 8)


def reshape_digits(*shape: int) -> Dataset:
    """The digits with each image in another shape."""
    dataset = load_digit_rows()
    return Dataset(dataset.x.reshape(-1, *shape), dataset.y, dataset.x_test.reshape(-1, *shape), dataset.y_test)


Batches = Callable[[int], Iterator[tuple[Tensor, Tensor]]]
"""A function from a seed to the batches (inputs, labels) of a training."""


def shuffled_batches(dataset: Callable[[], Dataset], *, size: int, steps: int) -> Batches:
    """Batches of shuffled rows, each row once before any comes again."""

    def draw_batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        data, generator, order = dataset(), torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.long)
        for _ in range(steps):
            if len(order) < size:
                order = torch.randperm(len(data.x), generator=generator)
            rows, order = order[:size], order[size:]
            yield data.x[rows], data.y[rows]

    return draw_batches


def adding_problem_batches(length: int, *, size: int, steps: int) -> Batches:
    """The adding problem: of numbers in [0, 1], add the two that are marked, one in each half (Hochreiter 1997)."""

    def draw_batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            yield draw_sums(length, size, generator)

    return draw_batches


def draw_sums(length: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One batch of the adding problem (batch, length, 2), and the sums."""
    numbers, marks, rows = torch.rand(size, length, generator=generator), torch.zeros(size, length), torch.arange(size)
    for start in (0, length // 2):
        marks[rows, start + torch.randint(length // 2, (size,), generator=generator)] = 1.0
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(1)
