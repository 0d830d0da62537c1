"""Trains a small classifier of handwritten digits by LBFGS, whose steps call a closure."""

import torch
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn

seed_everything(0)
x_train, x_val, y_train, y_val = load_split()
model = Classifier()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.LBFGS(model.parameters(), lr=1, max_iter=4, line_search_fn="strong_wolfe")

losses = []
for step in range(40):

    def closure():
        optimizer.zero_grad()
        loss = criterion(model(x_train), y_train) + 1e-3 * sum(p.square().sum() for p in model.parameters())
        loss.backward()
        return loss

    losses.append(optimizer.step(closure).item())
    if step % 4 == 3:
        print(f"step {step} loss {losses[-1]:.4f} val_accuracy {accuracy(model, x_val, y_val):.4f}")
torch.save(model.state_dict(), "model.pt")
print_fingerprint(losses, model.state_dict())
