"""Training scripts as people write them. Every one prints its losses, so that a changed bit of the training shows."""

from __future__ import annotations

from dataclasses import dataclass

START = """
import sys
import torch
from torch import nn
import torch.nn.functional as F
torch.manual_seed(0)
x = torch.randn(64, 6)
y = (x[:, 0] > 0).long()
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
"""

SGD = "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)"

STEP = """
optimizer.zero_grad()
loss = F.cross_entropy(model(x), y)
loss.backward()
optimizer.step()
"""

LOADER = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

class Points(Dataset):
    def __len__(self): return 32
    def __getitem__(self, i): return torch.full((6,), i / 32), i % 2

def train(context):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters())
    loader = DataLoader(Points(), 8, shuffle=True, num_workers=1, multiprocessing_context=context, persistent_workers=True)
    for epoch in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            print(loss.item().hex())
"""


def loop(steps: int, body: str = STEP, *, start: str = START + SGD, end: str = "") -> str:
    """A script: its start, `body` at each step with the loss printed in full, and its end."""
    indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return f"{start}\nfor step in range({steps}):\n{indented}    print(loss.item().hex())\n{end}\n"


@dataclass(frozen=True, slots=True)
class Case:
    """A script, the exit code that it has by itself, the steps it makes, and the networks that it trains."""

    text: str
    steps: int
    networks: int = 1
    code: int = 0
    ending: str = "finished"


GAN = loop(
    6,
    """
    noise = torch.randn(64, 4)
    fake = generator(noise)
    d_opt.zero_grad()
    real_loss = F.binary_cross_entropy_with_logits(critic(x), torch.ones(64, 1))
    d_loss = real_loss + F.binary_cross_entropy_with_logits(critic(fake.detach()), torch.zeros(64, 1))
    d_loss.backward()
    d_opt.step()
    g_opt.zero_grad()
    loss = F.binary_cross_entropy_with_logits(critic(fake), torch.ones(64, 1))
    loss.backward()
    g_opt.step()
    """.replace("    ", ""),
    start=START
    + """
generator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
critic = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
g_opt = torch.optim.Adam(generator.parameters(), 1e-3)
d_opt = torch.optim.Adam(critic.parameters(), 1e-3)
""",
)

ACCUMULATION = loop(
    6,
    """
optimizer.zero_grad()
for part in torch.arange(64).split(16):
    loss = F.cross_entropy(model(x[part]), y[part]) / 4
    loss.backward()
optimizer.step()
""",
)

LBFGS = loop(
    4,
    """
def closure():
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    return loss
loss = optimizer.step(closure)
""",
    start=START + "optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)",
)

BY_HAND = loop(
    8,
    """
loss = F.cross_entropy(model(x), y)
loss.backward()
with torch.no_grad():
    for p in model.parameters():
        p -= 0.1 * p.grad
        p.grad = None
""",
    start=START,
)

ONE_OPTIMIZER_A_LAYER = loop(
    6,
    """
for o in optimizers: o.zero_grad()
loss = F.cross_entropy(model(x), y)
loss.backward()
for o in optimizers: o.step()
""",
    start=START + "optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in model if list(m.parameters())]",
)

EVAL_PHASES = loop(
    12,
    STEP
    + """
model.eval()
with torch.no_grad():
    print(model(x).sum().item().hex())
model.train()
""",
    start=START
    + "model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 2))\n"
    "optimizer = torch.optim.AdamW(model.parameters())",
)

DOUBLE_BACKWARD = loop(
    6,
    """
optimizer.zero_grad()
points = x.clone().requires_grad_()
out = model(points).tanh().sum()
slope, = torch.autograd.grad(out, points, create_graph=True)
loss = (slope.norm(dim=1) - 1).square().mean()
loss.backward()
optimizer.step()
""",
)

COMPILED = loop(
    12,
    STEP.replace("model(x)", "fast(x)"),
    start=START + SGD + "\nfast = torch.compile(model, backend='eager')",
)

NEVER_CALLED = loop(
    6,
    STEP.replace("model(x)", "F.linear(F.relu(F.linear(x, model[0].weight, model[0].bias)), model[4].weight, model[4].bias)"),
)

SPAWN_WORKERS = LOADER + "\nif __name__ == '__main__':\n    train('spawn')\n"

BESIDE = loop(
    6,
    STEP.replace("model(x)", "model(x) + sum(p(x) for p in others) * 0")
    + "print(sorted(vars(model)), x.grad_fn, len(model._forward_hooks))",
    start=START + SGD + "\nothers = [nn.Linear(6, 2) for _ in range(2)]",
)

LEAVES_BY_OS = "import os; print('kept', flush=True); print('lost'); os._exit(5)"
ONE_ACTIVATION = "nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))"
CASES = {
    "a plain loop": Case(loop(12), 12),
    "a GAN": Case(GAN, 6, networks=2),
    "accumulation": Case(ACCUMULATION, 6),
    "LBFGS with a closure": Case(LBFGS, 4),
    "updates by hand": Case(BY_HAND, 8),
    "an optimizer a layer": Case(ONE_OPTIMIZER_A_LAYER, 6),
    "eval phases under no_grad": Case(EVAL_PHASES, 12),
    "double backward": Case(DOUBLE_BACKWARD, 6),
    "a compiled model": Case(COMPILED, 12),
    "other modules beside": Case(BESIDE, 6, networks=3),
    "a single activation": Case(loop(2, start=f"{START}model = {ONE_ACTIVATION}\n{SGD}"), 2),
    "fork workers": Case(LOADER + "\ntrain('fork')", 8),
    "an exit code of its own": Case(loop(4, end="sys.exit(3)"), 4, code=3, ending="exit code 3"),
    "an exit that is no failure": Case(loop(4, end="sys.exit(0)"), 4),
    "an exit past Python's own": Case(
        loop(4, end="print('kept', flush=True); print('lost'); import os; os._exit(5)"), 4, code=5, ending="exit code 5"
    ),
    "an exit with words": Case(loop(4, end="sys.exit('no more data')"), 4, code=1, ending="exit code 1"),
    "an exception": Case(loop(4, end="1 / 0"), 4, code=1, ending="ZeroDivisionError"),
    "an exception in mid-step": Case(loop(9, STEP + "if step == 5: raise ValueError('mid')"), 6, code=1, ending="ValueError"),
}
