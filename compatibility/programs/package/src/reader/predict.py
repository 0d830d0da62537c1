"""Reads the held-out digits with the weights that train.py saved."""

import torch

from reader.digits import accuracy, load_split
from reader.model import Classifier

_, x_val, _, y_val = load_split()
model = Classifier()
model.load_state_dict(torch.load("model.pt", weights_only=True))
print(f"val_accuracy {accuracy(model, x_val, y_val):.4f}")
