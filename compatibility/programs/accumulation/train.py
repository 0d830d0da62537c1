"""Trains with gradients summed over four small batches a step."""

import torch
from digits import accuracy, load_split, seed_everything
from fingerprint import print_fingerprint
from model import Classifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ACCUMULATE = 4

seed_everything(0)
x_train, x_val, y_train, y_val = load_split()
loader = DataLoader(TensorDataset(x_train, y_train), batch_size=16, shuffle=True, drop_last=True)
model = Classifier()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=15 * (len(loader) // ACCUMULATE + 1))

losses = []
for epoch in range(15):
    for index, (images, labels) in enumerate(loader):
        loss = criterion(model(images), labels)
        (loss / ACCUMULATE).backward()
        losses.append(loss.item())
        if (index + 1) % ACCUMULATE == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
    print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy(model, x_val, y_val):.4f}")
torch.save(model.state_dict(), "model.pt")
print_fingerprint(losses, model.state_dict())
