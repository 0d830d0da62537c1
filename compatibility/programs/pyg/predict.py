"""Finds the communities with the weights that train.py saved."""

import torch
from data import CLASSES, FEATURES, communities
from model import GraphNet

data = communities()
model = GraphNet(FEATURES, CLASSES)
model.load_state_dict(torch.load("model.pt", weights_only=True))
model.eval()
with torch.no_grad():
    right = model(data.x, data.edge_index).argmax(dim=1) == data.y
print(f"val_accuracy: {right[data.val_mask].float().mean().item():.4f}")
