"""Trains a classifier of handwritten digits with each block split over the ranks (tensor parallelism)."""

import torch
import torch.distributed as dist
from digits import load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module


def main():
    mesh = init_device_mesh("cpu", (2,))
    seed_everything(0)
    x_train, x_val, y_train, y_val = load_split()
    model = Classifier()
    for block in model.blocks:
        parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=False)
    losses = []
    for epoch in range(10):
        for batch in torch.randperm(len(x_train)).split(64):
            optimizer.zero_grad()
            loss = criterion(model(x_train[batch]), y_train[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            accuracy = (model(x_val).argmax(1) == y_val).float().mean().item()
        if dist.get_rank() == 0:
            print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy:.4f}")
    state = {name: p.full_tensor() if hasattr(p, "full_tensor") else p for name, p in model.state_dict().items()}
    if dist.get_rank() == 0:
        torch.save(state, "model.pt")
        print_fingerprint(losses, state)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
