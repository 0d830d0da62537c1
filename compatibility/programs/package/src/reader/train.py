"""Trains a classifier of handwritten digits, and saves its weights."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from reader.digits import accuracy, load_split, seed_everything
from reader.fingerprint import print_fingerprint
from reader.model import Classifier


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
        print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy(model, x_val, y_val):.4f}")
    torch.save(model.state_dict(), "model.pt")
    print_fingerprint(losses, model.state_dict())


if __name__ == "__main__":
    main()
