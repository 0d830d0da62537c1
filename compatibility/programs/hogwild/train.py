"""Trains one network in memory that two forked processes share, without locks (Recht et al. 2011)."""

import torch
import torch.multiprocessing as mp
from digits import accuracy, load_split
from model import Classifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(rank, model, images, labels):
    torch.manual_seed(rank)
    torch.set_num_threads(1)
    loader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x_train, x_val, y_train, y_val = load_split()
    model = Classifier()
    model.share_memory()
    context = mp.get_context("fork")
    workers = [context.Process(target=train, args=(rank, model, x_train, y_train)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    torch.save(model.state_dict(), "model.pt")
    print(f"val_accuracy {accuracy(model, x_val, y_val):.4f}")
