"""Trains the classifier with Lightning's Trainer, and keeps its checkpoint."""

import argparse

import lightning as L
from digits import accuracy, load_split
from fingerprint import print_fingerprint
from model import DigitClassifier
from torch.utils.data import DataLoader, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=1)
    args = parser.parse_args()
    L.seed_everything(0)
    x_train, x_val, y_train, y_val = load_split()
    train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64 // args.devices, shuffle=True)
    val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=360)
    model = DigitClassifier()
    trainer = L.Trainer(
        max_epochs=15,
        accelerator="cpu",
        devices=args.devices,
        strategy="ddp" if args.devices > 1 else "auto",
        enable_progress_bar=False,
        log_every_n_steps=10,
    )
    trainer.fit(model, train_loader, val_loader)
    trainer.save_checkpoint("model.ckpt")
    if trainer.is_global_zero:
        print(f"val_accuracy {accuracy(model, x_val, y_val):.4f}")
        print_fingerprint(model.losses, model.state_dict())


if __name__ == "__main__":
    main()
