"""Trains a classifier of handwritten digits with a fastai Learner and the one-cycle policy."""

import torch
from digits import accuracy as share_right
from digits import load_split
from fastai.callback.schedule import fit_one_cycle  # noqa: F401 - gives Learner its method
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn
from torch.utils.data import TensorDataset

set_seed(0, reproducible=True)
x_train, x_val, y_train, y_val = load_split()
train = DataLoader(TensorDataset(x_train, y_train), bs=64, shuffle=True)
valid = DataLoader(TensorDataset(x_val, y_val), bs=360)
model = Classifier()
learner = Learner(DataLoaders(train, valid, device=torch.device("cpu")), model, loss_func=nn.CrossEntropyLoss(), metrics=accuracy)
with learner.no_bar():
    learner.fit_one_cycle(12, 5e-3)
print(f"val_accuracy {share_right(model, x_val, y_val):.4f}")
torch.save(model.state_dict(), "model.pt")
print_fingerprint([float(loss) for loss in learner.recorder.losses], model.state_dict())
