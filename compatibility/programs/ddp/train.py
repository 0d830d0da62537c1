"""Trains a classifier of handwritten digits on every rank that torchrun starts."""

import torch
import torch.distributed as dist
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def main():
    dist.init_process_group("gloo")
    seed_everything(0)
    x_train, x_val, y_train, y_val = load_split()
    dataset = TensorDataset(x_train, y_train)
    sampler = DistributedSampler(dataset)
    loader = DataLoader(dataset, batch_size=32, sampler=sampler)
    model = DistributedDataParallel(Classifier())
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for epoch in range(15):
        sampler.set_epoch(epoch)
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if dist.get_rank() == 0:
            print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy(model.module, x_val, y_val):.4f}")
    if dist.get_rank() == 0:
        torch.save(model.module.state_dict(), "model.pt")
        print_fingerprint(losses, model.module.state_dict())
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
