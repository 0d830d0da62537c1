"""Trains a graph network to find the communities of a graph."""

import torch
import torch.nn.functional as F
from data import CLASSES, FEATURES, communities
from digits import seed_everything
from fingerprint import print_fingerprint
from model import GraphNet

seed_everything(0)
data = communities()
model = GraphNet(FEATURES, CLASSES)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)


@torch.no_grad()
def test():
    model.eval()
    right = model(data.x, data.edge_index).argmax(dim=1) == data.y
    return right[data.val_mask].float().mean().item()


losses = []
for epoch in range(1, 151):
    model.train()
    optimizer.zero_grad()
    out = model(data.x, data.edge_index)
    loss = F.cross_entropy(out[data.train_mask], data.y[data.train_mask])
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    if epoch % 10 == 0:
        print(f"Epoch: {epoch:03d}, Loss: {loss:.4f}, val_accuracy: {test():.4f}")
torch.save(model.state_dict(), "model.pt")
print_fingerprint(losses, model.state_dict())
