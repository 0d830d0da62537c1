"""Programs that build their networks in many ways, for the tests of where an initialisation is written and what it does."""

from __future__ import annotations

_LOOP = """
for step in range(2):
    loss = net(x).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
"""
_OPTIMIZER = "opt = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1e-3)"
_HEAD = "import torch\nfrom torch import nn\n"

OWN_INIT = f"""{_HEAD}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU())
        self.head = nn.Linear(24, 24)
        self.apply(self._draw)
        # scores of all classes

    def _draw(self, module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)

    def forward(self, x):
        return self.head(self.body(x))


torch.manual_seed(0)
x = torch.randn(16, 24)
net = Net()
{_OPTIMIZER}
{_LOOP}"""

LATER_INIT = f"""{_HEAD}

def draw(module):
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24))

    def forward(self, x):
        return self.body(x)


torch.manual_seed(0)
x = torch.randn(16, 24)
net = Net()
net.apply(draw)  # as the paper does
{_OPTIMIZER}
{_LOOP}"""

TIED = f"""{_HEAD}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(24, 24)
        self.up = nn.Linear(24, 48)
        self.down = nn.Linear(48, 24)
        self.decoder = nn.Linear(24, 24, bias=False)
        self.decoder.weight = self.embedding.weight

    def forward(self, x):
        return self.decoder(torch.relu(self.down(torch.relu(self.up(self.embedding(x))))))


torch.manual_seed(0)
x = torch.arange(24)
net = Net()
{_OPTIMIZER}
{_LOOP}"""

FROZEN = f"""{_HEAD}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 24))
        self.head = nn.Sequential(nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 24))

    def forward(self, x):
        return self.head(self.backbone(x))


torch.manual_seed(0)
x = torch.randn(16, 24)
net = Net()
for p in net.backbone.parameters():
    p.requires_grad = False
{_OPTIMIZER}
{_LOOP}"""

TWINS = f"""{_HEAD}

class Net(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.first = nn.Linear(24, 24)
        self.last = nn.Linear(24, outputs)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


torch.manual_seed(0)
x = torch.randn(16, 24)
critic = Net(1)
net = Net(24)
{_OPTIMIZER}
{_LOOP}"""

SUBCLASS = f"""{_HEAD}

class Base(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(24, width)
        self.norm = nn.LayerNorm(width)


class Net(Base):
    def __init__(self, width=24):
        super().__init__(width)
        self.layers = nn.ModuleList([nn.Linear(width, width, bias=index > 0) for index in range(4)])
        self.heads = nn.ModuleDict(dict(a=nn.Linear(width, 24), b=nn.Linear(width, 24)))

    def forward(self, x):
        h = torch.relu(self.norm(self.first(x)))
        for layer in self.layers:
            h = torch.relu(layer(h))
        return self.heads["a"](h) + self.heads["b"](h)


torch.manual_seed(0)
x = torch.randn(16, 24)
net = Net()
{_OPTIMIZER}
{_LOOP}"""

CONVOLUTIONS = f"""import torch
import torch.nn as nn


def build(channels):
    net = nn.Sequential()
    net.append(nn.Conv2d(16, channels, 3, padding=1))
    net.append(nn.ReLU())
    for _ in range(2):
        net.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=2))
        net.append(nn.ReLU())
    net.append(nn.ConvTranspose2d(channels, 16, 2, stride=2))
    return net


torch.manual_seed(0)
x = torch.randn(4, 16, 12, 12)
net = build(16)
{_OPTIMIZER}
{_LOOP}"""

RETURNED = f"""import torch
from torch.nn import LSTM, Linear, Module


class Reader(Module):
    def __init__(self, width):
        super().__init__()
        self.lstm = LSTM(8, width, num_layers=2, bidirectional=True)
        self.head = Linear(2 * width, 8)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


def make(net=16):
    return Reader(net).float()


torch.manual_seed(0)
x = torch.randn(12, 4, 8)
net = make()
other = make()
{_OPTIMIZER}
{_LOOP}"""

PARAMETERS = f"""{_HEAD}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.into = nn.Parameter(torch.rand(24, 48))
        self.shift = nn.Parameter(torch.rand(48))
        self.out = nn.Linear(48, 24)

    def forward(self, x):
        return self.out(torch.relu(x @ self.into + self.shift))


torch.manual_seed(0)
x = torch.randn(16, 24)
net = Net()
{_OPTIMIZER}
{_LOOP}"""

ADDED_LAYER = f"""{_HEAD}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(24, 24)
        self.last = nn.Linear(24, 24)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


torch.manual_seed(0)
x = torch.randn(16, 24)
net = Net()
net.last = nn.Linear(24, 12)
{_OPTIMIZER}
{_LOOP}"""

RESIDUAL = f"""{_HEAD}

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x):
        return x + self.fc2(torch.relu(self.fc1(x)))


class Net(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.blocks = nn.Sequential(*[Block(width) for _ in range(3)])
        self.head = nn.Linear(width, 24)

    def forward(self, x):
        return self.head(self.blocks(x))


torch.manual_seed(0)
x = torch.randn(16, 24)
net = Net()
{_OPTIMIZER}
{_LOOP}"""

LOADED = f"""{_HEAD}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24))
        state = {{name: tensor.clone() for name, tensor in self.body.state_dict().items()}}
        self.body.load_state_dict(state)

    def forward(self, x):
        return self.body(x)


torch.manual_seed(0)
x = torch.randn(16, 24)
net = Net()
{_OPTIMIZER}
{_LOOP}"""

PROGRAMS = {
    "own init": OWN_INIT,
    "later init": LATER_INIT,
    "tied": TIED,
    "frozen": FROZEN,
    "twins": TWINS,
    "subclass": SUBCLASS,
    "convolutions": CONVOLUTIONS,
    "returned": RETURNED,
    "parameters": PARAMETERS,
    "added layer": ADDED_LAYER,
    "residual": RESIDUAL,
    "loaded": LOADED,
}
"""The programs by name. Each trains `net` for two steps."""
