"""A graph of four communities, whose nodes have noisy features."""

import torch
from torch_geometric.data import Data
from torch_geometric.utils import stochastic_blockmodel_graph

CLASSES, SIZE, FEATURES = 4, 150, 16


def communities():
    state = torch.get_rng_state()
    torch.manual_seed(7)
    edge_index = stochastic_blockmodel_graph([SIZE] * CLASSES, 0.004 + 0.05 * torch.eye(CLASSES))
    y = torch.arange(CLASSES).repeat_interleave(SIZE)
    x = torch.randn(CLASSES, FEATURES)[y] + 2.0 * torch.randn(CLASSES * SIZE, FEATURES)
    train_mask = torch.rand(len(y)) < 0.5
    torch.set_rng_state(state)
    return Data(x=x, edge_index=edge_index, y=y, train_mask=train_mask, val_mask=~train_mask)
