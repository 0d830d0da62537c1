"""Trains a classifier of handwritten digits on two processes that this one starts."""

import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def train(rank, world_size, port):
    dist.init_process_group("gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=world_size)
    seed_everything(0)
    x_train, x_val, y_train, y_val = load_split()
    dataset = TensorDataset(x_train, y_train)
    sampler = DistributedSampler(dataset, num_replicas=world_size, rank=rank)
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
        if rank == 0:
            print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy(model.module, x_val, y_val):.4f}", flush=True)
    if rank == 0:
        torch.save(model.module.state_dict(), "model.pt")
        print_fingerprint(losses, model.module.state_dict())
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(train, args=(2, free_port()), nprocs=2)
