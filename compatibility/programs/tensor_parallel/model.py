"""A classifier of handwritten digits whose blocks are a wide layer and a narrow one."""

from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up = nn.Linear(width, 2 * width)
        self.act = nn.ReLU()
        self.down = nn.Linear(2 * width, width)
        self.out = nn.ReLU()

    def forward(self, x):
        return self.out(self.down(self.act(self.up(x))))


class Classifier(nn.Module):
    def __init__(self, width=64, depth=2):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)
