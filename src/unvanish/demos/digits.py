"""Handwritten digits from scikit-learn: 1,797 images of 8 x 8 pixels, always split in the same way. Nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

TEST_FRACTION = 0.2
SPLIT_SEED = 0
CLASSES = 10
DATA_DESCRIPTION = "scikit-learn's digits: 1,437 images to train on, 360 to test, the same in every training"


@dataclass(frozen=True, slots=True)
class DigitsSplit:
    """Images of shape (count, 64) and labels of shape (count,): 1,437 to train on and 360 to test."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_digits_split() -> DigitsSplit:
    """The digits, split in equal parts of each class, the same for every seed.

    Over all training pixels the mean is 0 and the standard deviation 1, so that the mean square of an input is 1.
    """
    dataset: Any = load_digits()
    pixels = torch.tensor(dataset.data, dtype=torch.float32)
    labels = torch.tensor(dataset.target)
    split: Any = train_test_split(pixels, labels, test_size=TEST_FRACTION, stratify=labels, random_state=SPLIT_SEED)
    x, x_test, y, y_test = split
    mean, deviation = x.mean(), x.std()
    return DigitsSplit((x - mean) / deviation, y, (x_test - mean) / deviation, y_test)
