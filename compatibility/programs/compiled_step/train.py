"""Trains with the loss of a step compiled as one function, and the optimizer's step as another."""

import torch
import torch.nn.functional as F
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier

seed_everything(0)
x_train, x_val, y_train, y_val = load_split()
model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


@torch.compile(backend="aot_eager")
def compute_loss(images, labels):
    return F.cross_entropy(model(images), labels)


@torch.compile(backend="aot_eager")
def update():
    optimizer.step()


losses = []
for epoch in range(15):
    for batch in torch.randperm(len(x_train)).split(64)[:-1]:
        optimizer.zero_grad()
        loss = compute_loss(x_train[batch], y_train[batch])
        loss.backward()
        update()
        losses.append(loss.item())
    print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy(model, x_val, y_val):.4f}")
torch.save(model.state_dict(), "model.pt")
print_fingerprint(losses, model.state_dict())
