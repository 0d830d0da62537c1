"""Trains a classifier of handwritten digits with an engine of PyTorch-Ignite."""

import torch
from digits import load_split, seed_everything
from fingerprint import print_fingerprint
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from model import Classifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

seed_everything(0)
x_train, x_val, y_train, y_val = load_split()
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True)
val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=360)
model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()
trainer = create_supervised_trainer(model, optimizer, criterion)
evaluator = create_supervised_evaluator(model, metrics={"accuracy": Accuracy(), "loss": Loss(criterion)})
losses = []


@trainer.on(Events.ITERATION_COMPLETED)
def keep_loss(engine):
    losses.append(engine.state.output)


@trainer.on(Events.EPOCH_COMPLETED)
def log_validation(engine):
    metrics = evaluator.run(val_loader).metrics
    print(f"epoch {engine.state.epoch} val_loss {metrics['loss']:.4f} val_accuracy {metrics['accuracy']:.4f}")


trainer.run(train_loader, max_epochs=15)
torch.save(model.state_dict(), "model.pt")
print_fingerprint(losses, model.state_dict())
