"""A training script in which a part is compiled: `python compiled_script.py BACKEND FORM...` runs one form after the other.

It prints every loss and the state at the end bit for bit, and how often the compiler compiled, broke a graph or compiled again.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

STEPS = 8


class Net(nn.Module):
    """With dropout and batch normalisation, whose states a second forward pass would change."""

    def __init__(self, reentrant: bool | None = None) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)
        self.middle = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.2))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = self.middle(x) if self.reentrant is None else checkpoint(self.middle, x, use_reentrant=self.reentrant)
        return self.last(x)


def train(form: str, backend: str) -> None:
    torch.manual_seed(0)
    compile: Callable[..., Any] = lambda part, **options: torch.compile(part, backend=backend, **options)  # noqa: E731
    network = Net({"reentrant checkpoint": True, "checkpoint": False}.get(form))
    model: Any = network
    criterion: Any = F.cross_entropy
    if form in ("module", "autocast", "checkpoint", "reentrant checkpoint"):
        model = compile(network)
    elif form == "in place":
        network.compile(backend=backend)
    elif form == "dynamic":
        model = compile(network, dynamic=True)
    elif form == "part":
        network.middle = compile(network.middle)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    if form == "after the optimizer":
        model = compile(network)
    elif form == "function":
        model = compile(lambda x: network(x), fullgraph=True)
    elif form == "loss":
        model, criterion = compile(network), compile(F.cross_entropy)

    def step(x: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if form == "autocast" else nullcontext():
            loss = criterion(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    if form == "step":
        step = compile(step)
    for number in range(STEPS):
        size = 5 + number % 3 if form == "dynamic" else 5
        loss = step(torch.randn(size, 6), torch.randint(4, (size,)))
        print(form, number, loss.item().hex(), flush=True)
    state = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    for tensor in network.state_dict().values():
        state.update(tensor.numpy().tobytes())
    print(form, state.hexdigest())


if __name__ == "__main__":
    for form in sys.argv[2:]:
        train(form, sys.argv[1])
        if form != "step":  # of which a sampled step runs eagerly
            counters = torch._dynamo.utils.counters
            print(form, [sorted(counters[name].items()) for name in ("frames", "graph_break", "recompiles")])
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
