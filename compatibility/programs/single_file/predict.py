"""Reads the held-out digits with the network that train.py saved whole."""

import torch
from digits import accuracy, load_split

_, x_val, _, y_val = load_split()
model = torch.load("model.pt", weights_only=False)
print(f"val_accuracy {accuracy(model, x_val, y_val):.4f}")
