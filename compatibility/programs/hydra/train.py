"""Trains a classifier of handwritten digits as its configuration says, which Hydra reads."""

import hydra
import torch
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from hydra.utils import instantiate
from model import Classifier
from omegaconf import DictConfig
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    seed_everything(config.seed)
    x_train, x_val, y_train, y_val = load_split()
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=config.batch_size, shuffle=True)
    model = Classifier()
    criterion = nn.CrossEntropyLoss()
    optimizer = instantiate(config.optimizer, params=model.parameters())
    losses = []
    for epoch in range(config.epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy(model, x_val, y_val):.4f}")
    torch.save(model.state_dict(), "model.pt")
    print_fingerprint(losses, model.state_dict())


if __name__ == "__main__":
    main()
