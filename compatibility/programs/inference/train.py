"""Reads digits with a network that somebody else has trained: nothing is trained here."""

import torch
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier

seed_everything(0)
_, x_val, _, y_val = load_split()
model = Classifier().eval()
with torch.inference_mode():
    scores = model(x_val)
print("read", len(scores), "digits; mean score", f"{scores.mean().item():.4f}")
print_fingerprint(scores.mean(1), model.state_dict())
raise SystemExit(0 if accuracy(model, x_val, y_val) >= 0 else 1)
