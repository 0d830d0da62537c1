"""Reads the held-out digits with the weights that train.py saved, loaded into a model that is built anew."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

from digits import load_split
from model import make_model

_, x_val, _, y_val = (tensor.numpy() for tensor in load_split())
model = make_model()
model.load_weights("model.keras")
print(f"test_accuracy {(model.predict(x_val, verbose=0).argmax(1) == y_val).mean():.4f}")
