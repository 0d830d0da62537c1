"""The handwritten digits of scikit-learn, and how well a network reads those that were held out."""

import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def load_split():
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    return train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)


@torch.no_grad()
def accuracy(model, images, labels):
    training = model.training
    model.eval()
    right = (model(images).argmax(1) == labels).float().mean().item()
    model.train(training)
    return right
