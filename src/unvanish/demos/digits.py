"""Handwritten digits from scikit-learn: 1,797 images of 8 x 8 pixels, split once and for all. Nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

TEST_SHARE = 0.2
SPLIT_SEED = 0
CLASSES = 10
SPLIT_IN_WORDS = "scikit-learn's digits: 1,437 images to train on, 360 to test, the same in every training"


@dataclass(frozen=True, slots=True)
class Digits:
    """Images as rows of 64 pixels, and what they show: 1,437 to train on and 360 to test."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def digits() -> Digits:
    """The digits, shared out in equal parts of each class, the same for every seed.

    Over all training pixels the mean is 0 and the standard deviation 1, so that the mean square of an input is 1.
    """
    data: Any = load_digits()
    pixels = torch.tensor(data.data, dtype=torch.float32)
    labels = torch.tensor(data.target)
    split: Any = train_test_split(pixels, labels, test_size=TEST_SHARE, stratify=labels, random_state=SPLIT_SEED)
    x, x_test, y, y_test = split
    mean, deviation = x.mean(), x.std()
    return Digits((x - mean) / deviation, y, (x_test - mean) / deviation, y_test)
