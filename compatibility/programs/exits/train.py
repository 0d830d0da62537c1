"""Trains a classifier of handwritten digits, and ends the process itself."""

import os
import sys

import torch
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    seed_everything(0)
    x_train, x_val, y_train, y_val = load_split()
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True)
    model = Classifier()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for epoch in range(15):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy(model, x_val, y_val):.4f}", flush=True)
    torch.save(model.state_dict(), "model.pt")
    print_fingerprint(losses, model.state_dict())
    return 0


if __name__ == "__main__":
    if "--at-once" in sys.argv:
        main()
        os._exit(7)
    sys.exit(main())
