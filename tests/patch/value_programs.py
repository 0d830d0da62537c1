"""Scripts in which a remedy has to be written in a place of its own: what comes of it is in `value_program_diffs`."""

# ruff: noqa: E501

from __future__ import annotations

import style_programs

SMALL = "nn.Sequential(nn.Linear(6, 16), nn.Sigmoid(), nn.Linear(16, 3))"
TRAINING = """
torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
net = NET
opt = OPTIMIZER
for step in range(3):
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
"""


def training_script(before: str, net: str = SMALL, optimizer: str = "torch.optim.SGD(net.parameters(), lr=0.05)") -> str:
    """A script that trains a network after some definitions."""
    text = "import torch\nfrom torch import nn\n" + before + TRAINING
    return text.replace("NET", net).replace("OPTIMIZER", optimizer).lstrip("\n")


PROGRAMS: dict[str, str] = {
    "a class passed by the one call": training_script(
        """
def mlp(width, act=None):
    return nn.Sequential(nn.Linear(6, width), act(), nn.Linear(width, width), act(), nn.Linear(width, 3))
""",
        "mlp(16, act=nn.Sigmoid)",
    ),
    "a function as default argument": training_script(
        """
class Net(nn.Module):
    def __init__(self, activation=torch.tanh):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.activation = activation

    def forward(self, x):
        x = self.activation(self.a(x))
        return self.c(self.activation(self.b(x)))
""",
        "Net()",
    ),
    "a class by its name": training_script(
        """
def mlp(width, act="Sigmoid"):
    layers = []
    for _ in range(2):
        layers.append(nn.Linear(6 if not layers else width, width))
        layers.append(getattr(nn, act)())
    return nn.Sequential(*layers, nn.Linear(width, 3))
""",
        "mlp(16)",
    ),
    "a chain of conditions": training_script(
        """
def activation(name):
    if name == "sigmoid":
        return nn.Sigmoid()
    elif name == "relu":
        return nn.ReLU()
    raise ValueError(name)


class Net(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.act = activation(act)

    def forward(self, x):
        return self.c(self.act(self.b(self.act(self.a(x)))))

ACT = "sigmoid"
""",
        "Net(ACT)",
    ),
    "a dictionary of functions": training_script(
        """import torch.nn.functional as F
ACTS = {"tanh": torch.tanh, "relu": F.relu}


class Net(nn.Module):
    def __init__(self, act="tanh"):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.act = act

    def forward(self, x):
        f = ACTS[self.act]
        return self.c(f(self.b(f(self.a(x)))))
""",
        "Net()",
    ),
    "a helper that calls": training_script(
        """
def squash(h):
    return torch.tanh(h)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.c(squash(self.b(squash(self.a(x)))))
""",
        "Net()",
    ),
    "a helper that others call": """\
import torch
from torch import nn

def squash(h):
    return torch.tanh(h)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.c(squash(self.b(squash(self.a(x)))))

torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
net = Net()
opt = torch.optim.SGD(net.parameters(), lr=0.05)
for step in range(3):
    loss = nn.functional.cross_entropy(net(x), y) + 0 * squash(x).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
""",
    "a class that another network is of": training_script(
        """
class Net(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.a, self.b, self.act = nn.Linear(i, 16), nn.Linear(16, o), nn.Sigmoid()

    def forward(self, x):
        return self.b(torch.tanh(self.act(self.a(x))))
teacher = Net(6, 3)
""",
        "Net(6, 3)",
    ),
    "a line that builds the output too": training_script(
        """
class Block(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.a = nn.Linear(i, o)
    def forward(self, x):
        return torch.sigmoid(self.a(x))
def blocks():
    return nn.Sequential(Block(6, 16), Block(16, 16), Block(16, 3))
""",
        "blocks()",
    ),
    "a constant": """\
import torch
from torch import nn

LR = 1e-6  # slow
BATCH = 32

torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
net = nn.Sequential(nn.Linear(6, 16), nn.Sigmoid(), nn.Linear(16, 3))
opt = torch.optim.Adam(net.parameters(), lr=LR, eps=1.0)
for step in range(3):
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
print("rate", LR)
""",
    "command line options": """\
import argparse
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-6, help="the rate")
parser.add_argument("--eps", type=float, default=1.0)
args = parser.parse_args()

torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
net = nn.Sequential(nn.Linear(6, 16), nn.Sigmoid(), nn.Linear(16, 3))
opt = torch.optim.Adam(net.parameters(), lr=args.lr, eps=args.eps)
for step in range(3):
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
""",
    "a dictionary of settings": training_script(
        """
config = {"width": 16, "lr": 1e-6, "eps": 1.0}
""",
        'nn.Sequential(nn.Linear(6, config["width"]), nn.Sigmoid(), nn.Linear(config["width"], 3))',
        'torch.optim.Adam(net.parameters(), lr=config["lr"], eps=config["eps"])',
    ),
    "groups of parameters": training_script(
        "",
        optimizer="""torch.optim.Adam([
    {"params": net[0].parameters(), "eps": 1.0},
    {"params": net[2].parameters()},
], lr=1e-3, eps=1.0)""",
    ),
    "calls over several lines": training_script(
        """
net = nn.Sequential(
    nn.Linear(
        6, 16
    ),
    nn.Sigmoid(
    ),
    nn.Linear(16, 3),
)
""",
        "net",
        """torch.optim.Adam(
    net.parameters(),
    lr=1e-3,  # the rate
    betas=(0.9, 0.99),  # as in the paper
    eps=1.0,
)""",
    ),
    "a class of settings": """\
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Config:
    lr: float = 1e-6
    eps: float = 1.0

cfg = Config()

torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
net = nn.Sequential(nn.Linear(6, 16), nn.Sigmoid(), nn.Linear(16, 3))
opt = torch.optim.Adam(net.parameters(), lr=cfg.lr, eps=cfg.eps)
for step in range(3):
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
""",
    "a class of optimizers as default argument": """\
import torch
from torch import nn

def trainer(net, x, y, optimizer=torch.optim.Adam, lr=1e-6):
    opt = optimizer(net.parameters(), lr=lr)
    for step in range(3):
        loss = nn.functional.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        print(repr(loss.item()))
torch.manual_seed(0)
trainer(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3)), torch.randn(32, 6), torch.randint(0, 3, (32,)))
""",
    "calls that work in place": training_script(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        h = self.a(x)
        h.tanh_()
        h = self.b(h)
        h = h.sigmoid_()
        return self.c(h)
""",
        "Net()",
    ),
    "a gradient scaler": """\
import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randn(32, 1)
net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.SGD(net.parameters(), lr=0.01)
scaler = torch.amp.GradScaler("cpu")
for step in range(3):
    loss = (net(x) - y).square().mean()
    opt.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(opt)
    scaler.update()
    print(repr(loss.item()))
""",
    "two networks with their optimizers": """\
import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randint(0, 2, (32, 1)).float()
judge = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
maker = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 6))
opt_maker = torch.optim.Adam(maker.parameters(), lr=1e-3)
opt_judge = torch.optim.Adam(judge.parameters(), lr=1e-3)
bce = nn.BCEWithLogitsLoss()
for step in range(3):
    made = maker(torch.randn(32, 2))
    loss = bce(judge(x), torch.ones(32, 1)) + bce(judge(made.detach()), torch.zeros(32, 1))
    opt_judge.zero_grad()
    loss.backward()
    opt_judge.step()
    loss = bce(judge(made), torch.ones(32, 1))
    opt_maker.zero_grad()
    loss.backward()
    opt_maker.step()
    print(repr(loss.item()))
""",
    "all names of torch": """\
from torch import manual_seed, randn
from torch.nn import *
from torch.optim import *

manual_seed(0)
x, y = randn(32, 6), randn(32, 1)
net = Sequential(Linear(6, 16), Tanh(), Linear(16, 1))
opt = SGD(net.parameters(), lr=0.01)
for step in range(3):
    loss = (net(x) - y).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
""",
    "a name that is taken": """\
import torch
from torch.nn import Linear, Sequential, Tanh


class ReLU:
    pass


torch.manual_seed(0)
x, y = torch.randn(32, 6), torch.randn(32, 1)
net = Sequential(Linear(6, 16), Tanh(), Linear(16, 1))
opt = torch.optim.SGD(net.parameters(), lr=0.01)
for step in range(3):
    loss = (net(x) - y).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(repr(loss.item()))
""",
}
PROGRAMS["a layer called optimizer"] = training_script(
    """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.optimizer, self.act, self.head = nn.Linear(6, 16), nn.Sigmoid(), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.act(self.optimizer(x)))
""",
    "Net()",
)
PROGRAMS["weights that are loaded"] = training_script("").replace("opt =", "net.load_state_dict(net.state_dict())\nopt =")
PROGRAMS["weights that are read"] = training_script("").replace("opt =", "nn.init.xavier_uniform_(net[0].weight)\nopt =")
PROGRAMS["layers of several widths"] = training_script(
    """
def layer(a, b):
    return [nn.Linear(a, b), nn.Tanh()]
""",
    "nn.Sequential(*layer(6, 8), *layer(8, 16), nn.Linear(16, 3))",
)
PROGRAMS["a gated network"] = style_programs.RECURRENT.replace(
    'nn.RNN(4, HIDDEN, nonlinearity="tanh"', "nn.LSTM(4, HIDDEN"
).replace("_, h =", "_, (h, _) =")
