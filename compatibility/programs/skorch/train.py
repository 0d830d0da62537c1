"""Trains a classifier of handwritten digits as an estimator of scikit-learn, with skorch."""

import numpy as np
import torch
from digits import load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

seed_everything(0)
x_train, x_val, y_train, y_val = (tensor.numpy() for tensor in load_split())
net = NeuralNetClassifier(
    Classifier,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=1e-3,
    batch_size=64,
    max_epochs=15,
    iterator_train__shuffle=True,
    train_split=predefined_split(Dataset(x_val, y_val)),
    verbose=0,
)
net.fit(x_train, y_train)
for row in net.history:
    print(f"epoch {row['epoch']} train_loss {row['train_loss']:.4f} valid_acc {row['valid_acc']:.4f}")
print(f"val_accuracy {np.mean(net.predict(x_val) == y_val):.4f}")
net.save_params(f_params="model.pt")
print_fingerprint(net.history[:, "train_loss"], net.module_.state_dict())
