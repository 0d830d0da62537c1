"""Trains a compiled classifier of handwritten digits, in one of the ways in which PyTorch compiles."""

import argparse

import torch
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--backend", default="inductor")
parser.add_argument("--dynamic", action="store_true")
parser.add_argument("--in-place", action="store_true", help="compile by model.compile()")
parser.add_argument("--autocast", action="store_true")
parser.add_argument("--after-optimizer", action="store_true", help="make the optimizer first")
args = parser.parse_args()

seed_everything(0)
x_train, x_val, y_train, y_val = load_split()
loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True, drop_last=not args.dynamic)
model = Classifier()
if args.after_optimizer:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
if args.in_place:
    model.compile(backend=args.backend, dynamic=args.dynamic or None)
    compiled = model
else:
    compiled = torch.compile(model, backend=args.backend, dynamic=args.dynamic or None)
if not args.after_optimizer:
    optimizer = torch.optim.Adam(compiled.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

losses = []
for epoch in range(15):
    for images, labels in loader:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.autocast):
            loss = criterion(compiled(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy(compiled, x_val, y_val):.4f}")
torch.save(model.state_dict(), "model.pt")
print_fingerprint(losses, model.state_dict())
