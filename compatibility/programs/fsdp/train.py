"""Trains a classifier of handwritten digits whose weights are sharded over the ranks (FSDP2)."""

import torch
import torch.distributed as dist
from digits import load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def main():
    dist.init_process_group("gloo")
    seed_everything(0)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    x_train, x_val, y_train, y_val = load_split()
    dataset = TensorDataset(x_train, y_train)
    sampler = DistributedSampler(dataset)
    loader = DataLoader(dataset, batch_size=32, sampler=sampler)
    model = Classifier()
    fully_shard(model.layers, mesh=mesh)
    fully_shard(model, mesh=mesh)
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
        with torch.no_grad():
            accuracy = (model(x_val).argmax(1) == y_val).float().mean().item()
        if dist.get_rank() == 0:
            print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy:.4f}")
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if dist.get_rank() == 0:
        torch.save(state, "model.pt")
        print_fingerprint(losses, state)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
