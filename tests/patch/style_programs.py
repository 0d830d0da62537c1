"""Small training scripts in several styles of program text. Each prints the loss of every step to its last bit."""

# ruff: noqa: E501

from __future__ import annotations

SEQUENTIAL = """\
import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
width = 16
model = nn.Sequential(
    nn.Linear(6, width), nn.Sigmoid(),  # the first block
    nn.Linear(width, width),
    nn.Sigmoid(),
    nn.Linear(width, 3),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=0.1)

for step in range(4):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    print(repr(loss.item()))
"""

LOOP = """\
import torch
import torch.nn as nn
import torch.optim as optim


def block(inputs, outputs, act=nn.Tanh):
    return [nn.Linear(inputs, outputs), act()]


def build(width=16, depth=3):
    layers = block(6, width)
    for _ in range(depth):
        layers += block(width, width)
    layers.append(nn.Linear(width, 3))  # scores
    return nn.Sequential(*layers)


torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
net = build()
opt = optim.SGD(net.parameters(), lr=0.05)
for step in range(4):
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
"""

FUNCTIONAL = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.first = nn.Linear(6, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
        self.last = nn.Linear(width, 1)

    def forward(self, x):
        h = torch.sigmoid(self.first(x))  # into the hidden space
        for layer in self.hidden:
            h = layer(h).sigmoid()
        return torch.sigmoid(self.last(h))


def main():
    torch.manual_seed(0)
    x, y = torch.randn(32, 6), torch.rand(32, 1).round()
    net = Net()
    optimizer = torch.optim.RMSprop(net.parameters(), lr=0.01)
    for step in range(4):
        loss = F.binary_cross_entropy_with_logits(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(repr(loss.item()))


if __name__ == "__main__":
    main()
"""

NAMES = """\
from torch import manual_seed, randint, randn, tanh
from torch.nn import CrossEntropyLoss, Linear, Module, Sequential, Sigmoid
from torch.optim import Adam


class Net(Module):
    def __init__(self):
        super().__init__()
        self.body = Sequential(Linear(6, 16), Sigmoid(), Linear(16, 16), Sigmoid())
        self.middle = Linear(16, 16)
        self.head = Linear(16, 3)

    def forward(self, x):
        return self.head(tanh(self.middle(self.body(x))))


manual_seed(0)
x, y = randn(32, 6), randint(0, 3, (32,))
net, loss_of = Net(), CrossEntropyLoss()
opt = Adam(net.parameters(), 0.002, weight_decay=0.001, eps=1.0)
for _ in range(4):
    loss = loss_of(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
"""

MODEL = '''\
"""The network."""

import torch.nn as nn

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


class Conv(nn.Module):
    def __init__(self, channels=8, act="tanh"):
        super().__init__()
        kind = ACTIVATIONS[act]
        self.features = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            kind(),
            nn.Conv2d(channels, channels, 3, padding=1),
            kind(),
        )
        self.head = nn.Linear(channels, 3)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))
'''

TRAIN = """\
import torch
from model import Conv
from torch import nn


def fit(net, x, y, lr=1e-4, max_norm=0.01):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.0)
    for step in range(4):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), max_norm)
        optimizer.step()
        print(repr(loss.item()))


if __name__ == "__main__":
    torch.manual_seed(0)
    fit(Conv(), torch.randn(16, 1, 6, 6), torch.randint(0, 3, (16,)))
"""

ONE_LINE = """\
import torch; from torch import nn; torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randn(32, 1)
net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)); opt = torch.optim.SGD(net.parameters(), 0.01)
for _ in range(4): loss = ((net(x) - y) ** 2).mean(); opt.zero_grad(); loss.backward(); opt.step(); print(repr(loss.item()))
"""

TABS = """\
import torch, torch.nn as nn

class Net(nn.Module):
	def __init__(self):
		super().__init__()
		self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 16)
		self.act = nn.Sigmoid()  # größer
		self.c = nn.Linear(16, 3)

	def forward(self, x):
		return self.c(self.act(self.b(self.act(self.a(x)))))

class Trainer:
	def __init__(self, net):
		self.net = net
		self.opt = torch.optim.Adam(self.net.parameters(), lr=1e-3, betas=(0.9, 0.99), eps=1e-2)

	def fit(self, x, y):
		for _ in range(4):
			loss = nn.functional.cross_entropy(self.net(x), y)
			self.opt.zero_grad()
			loss.backward()
			self.opt.step()
			print(repr(loss.item()))

torch.manual_seed(0)
Trainer(Net()).fit(torch.randn(32, 6), torch.randint(0, 3, (32,)))
""".replace("\n", "\r\n")

RECURRENT = """\
import torch
from torch import nn

HIDDEN = 12


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(4, HIDDEN, nonlinearity="tanh", batch_first=True)  # reads from left to right
        self.head = nn.Linear(HIDDEN, 3)

    def forward(self, x):
        _, h = self.rnn(x)
        return self.head(h[-1])


torch.manual_seed(0)
x, y = torch.randn(16, 9, 4), torch.randint(0, 3, (16,))
net = Tagger()
opt = torch.optim.Adam(net.parameters(), lr=0.01)
for step in range(4):
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
"""

ATTENTION = """\
import torch
from torch import nn


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3), nn.Softmax(dim=-1))

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


torch.manual_seed(0)
x, y = torch.randn(16, 5, 8), torch.randint(0, 3, (16,))
net = Reader()


def make_optimizer(network):
    return torch.optim.Adam(network.parameters(), lr=1e-3)


opt = make_optimizer(net)
for step in range(4):
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
"""

HALF = """\
import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(16, 6), torch.randn(16, 2)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x):
        return x + self.fc2(torch.tanh(self.fc1(x)))


net = nn.Sequential(nn.Linear(6, 8), *[Residual(8) for _ in range(2)], nn.Linear(8, 2))
opt = torch.optim.SGD(net.parameters(), lr=0.01)
for step in range(4):
    with torch.autocast("cpu", dtype=torch.float16):
        out = net(x)
    loss = (out.float() - y).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
"""

PROGRAMS: dict[str, dict[str, str]] = {
    "a sequential": {"train.py": SEQUENTIAL},
    "a loop with a helper": {"train.py": LOOP},
    "functional calls": {"train.py": FUNCTIONAL},
    "imported names": {"train.py": NAMES},
    "two files": {"train.py": TRAIN, "model.py": MODEL},
    "one-liners": {"train.py": ONE_LINE},
    "tabs and windows lines": {"train.py": TABS},
    "a recurrent network": {"train.py": RECURRENT},
    "a transformer": {"train.py": ATTENTION},
    "half precision": {"train.py": HALF},
}
"""Files by name, by style; train.py is what is run."""
