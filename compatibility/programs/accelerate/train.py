"""Trains a classifier of handwritten digits with Accelerate, on whatever it is launched with."""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from digits import accuracy, load_split
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    accelerator = Accelerator(cpu=True)
    set_seed(0)
    x_train, x_val, y_train, y_val = load_split()
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    criterion = nn.CrossEntropyLoss()
    losses = []
    for epoch in range(15):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            accelerator.backward(loss)
            optimizer.step()
            losses.append(loss.item())
        val_accuracy = accuracy(accelerator.unwrap_model(model), x_val, y_val)
        accelerator.print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {val_accuracy:.4f}")
    accelerator.wait_for_everyone()
    state = accelerator.get_state_dict(model)
    accelerator.save(state, "model.pt")
    if accelerator.is_main_process:
        print_fingerprint(losses, state)
    accelerator.end_training()


if __name__ == "__main__":
    main()
