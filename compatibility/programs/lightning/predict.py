"""Reads the held-out digits with the checkpoint that train.py saved."""

from digits import accuracy, load_split
from model import DigitClassifier

_, x_val, _, y_val = load_split()
model = DigitClassifier.load_from_checkpoint("model.ckpt")
print(f"val_accuracy {accuracy(model, x_val, y_val):.4f}")
