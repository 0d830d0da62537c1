"""Trains a classifier of handwritten digits under autocast, with a scaled loss."""

import torch
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

seed_everything(0)
x_train, x_val, y_train, y_val = load_split()
loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True)
model = Classifier()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
scaler = torch.amp.GradScaler("cpu")

losses = []
for epoch in range(15):
    for images, labels in loader:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = criterion(model(images), labels)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy(model, x_val, y_val):.4f}")
torch.save(model.state_dict(), "model.pt")
print_fingerprint(losses, model.state_dict())
