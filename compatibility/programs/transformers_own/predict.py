"""Reads the held-out digits with the model that train.py saved."""

import torch
from digits import load_split
from model import DigitsModel

_, x_val, _, y_val = load_split()
model = DigitsModel.from_pretrained("results/best").eval()
with torch.no_grad():
    scores = model(x_val).logits
print(f"eval_accuracy {(scores.argmax(1) == y_val).float().mean().item():.4f}")
