"""Handwritten digits with a plain convolutional network in the manner of VGG: sixteen convolutions, no normalisation, no skips."""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--lr", type=float, default=0.05)
args = parser.parse_args()

torch.manual_seed(int(os.environ.get("SEED", "0")))
torch.set_num_threads(1)


def load_digit_images():
    mnist = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"
    if mnist.exists():
        data = np.load(mnist)
        x_train, y_train = data["x_train"][:2000, ::2, ::2] / 255, data["y_train"][:2000]
        x_test, y_test = data["x_test"][:1000, ::2, ::2] / 255, data["y_test"][:1000]
    else:
        digits = load_digits()
        x_train, x_test, y_train, y_test = train_test_split(digits.images / 16, digits.target, test_size=0.2, random_state=0)
    mean, std = x_train.mean(), x_train.std()
    train = TensorDataset(torch.tensor((x_train - mean) / std).float().unsqueeze(1), torch.tensor(y_train).long())
    test = TensorDataset(torch.tensor((x_test - mean) / std).float().unsqueeze(1), torch.tensor(y_test).long())
    return train, test


def make_layers(config):
    layers, channels = [], 1
    for item in config:
        if item == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, item, 3, padding=1), nn.ReLU()]
            channels = item
    return nn.Sequential(*layers)


class VGG(nn.Module):
    def __init__(self, config, classes=10):
        super().__init__()
        self.features = make_layers(config)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(config[-1], classes)

    def forward(self, x):
        x = self.pool(self.features(x))
        return self.classifier(x.flatten(1))


train_set, test_set = load_digit_images()
loader = DataLoader(train_set, batch_size=64, shuffle=True)
x_test, y_test = test_set.tensors

model = VGG([8, 8, 8, 8, "M", 16, 16, 16, 16, 16, 16, "M", 32, 32, 32, 32, 32, 32])
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
criterion = nn.CrossEntropyLoss()

for epoch in range(1, args.epochs + 1):
    model.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(images)
    model.eval()
    with torch.no_grad():
        accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
    print(f"epoch {epoch:2d}  loss {total / len(train_set):.3f}  val accuracy {accuracy:.3f}")
