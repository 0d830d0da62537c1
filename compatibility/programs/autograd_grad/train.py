"""Trains by torch.autograd.grad and an update of its own, with no optimizer."""

import torch
import torch.nn.functional as F
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier

seed_everything(0)
x_train, x_val, y_train, y_val = load_split()
model = Classifier()
parameters = list(model.parameters())
velocity = [torch.zeros_like(p) for p in parameters]

losses = []
for epoch in range(15):
    for batch in torch.randperm(len(x_train)).split(64):
        loss = F.cross_entropy(model(x_train[batch]), y_train[batch])
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient, v in zip(parameters, gradients, velocity, strict=True):
                v.mul_(0.9).add_(gradient)
                parameter.sub_(0.1 * v)
        losses.append(loss.item())
    print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy(model, x_val, y_val):.4f}")
torch.save(model.state_dict(), "model.pt")
print_fingerprint(losses, model.state_dict())
