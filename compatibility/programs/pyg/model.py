"""A graph network in the manner of Kipf and Welling (2017), with layers of PyTorch Geometric."""

from torch import nn
from torch_geometric.nn import GraphConv


class GraphNet(nn.Module):
    def __init__(self, features, classes, width=32, depth=2):
        super().__init__()
        self.convs = nn.ModuleList([GraphConv(features, width, aggr="mean")])
        for _ in range(depth - 1):
            self.convs.append(GraphConv(width, width, aggr="mean"))
        self.act = nn.ReLU()
        self.head = nn.Linear(width, classes)

    def forward(self, x, edge_index):
        for conv in self.convs:
            x = self.act(conv(x, edge_index))
        return self.head(x)
