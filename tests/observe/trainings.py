"""Small trainings of every kind, each with what a faithful record of it holds. They know nothing of being watched."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from small_networks import Checkpointed, Encoder, Functional, LastOfLSTM, small_mlp
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

STEPS = 13


@dataclass(slots=True)
class Outcome:
    """What a training leaves: the losses it saw, one row a step and one column an optimizer, and every bit of its state."""

    losses: list[tuple[float, ...]]
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Training:
    """A training of STEPS steps, and the sites that its record must hold, in order (None: not for this table to say).

    `prelude` counts the steps more that are recorded because the optimizer that ends a step had yet to appear.
    """

    run: Callable[[], Outcome]
    sites: tuple[str, ...] | None = None
    prelude: int = 0


def outcome(losses: list[Any], modules: list[nn.Module], optimizers: list[Optimizer]) -> Outcome:
    """Losses and state, with the random state of all three generators."""
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    state = {
        "tensors": [bits(t) for t in tensors],
        "gradients": [bits(t.grad) for t in tensors],
        "optimizers": [bits(o.state_dict()) for o in optimizers],
        "torch": bits(torch.get_rng_state()),
        "python": random.getstate(),
        "numpy": bits(np.random.get_state()),
    }
    return Outcome([row if isinstance(row, tuple) else (row,) for row in losses], state)


def bits(value: Any) -> Any:
    """A value with its tensors and arrays as type, shape and bytes."""
    if isinstance(value, Tensor) and value.is_sparse:
        return bits([value.coalesce().indices(), value.coalesce().values(), value._nnz()])
    if isinstance(value, Tensor):
        return value.dtype, tuple(value.shape), value.detach().clone().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list | tuple) else value


def seeded() -> None:
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)


def draw(*shape: int) -> Tensor:
    """A batch, moved by all three random generators, so that none may be touched unseen."""
    return torch.randn(shape) * (1 + 0.1 * random.random()) + 0.1 * float(np.random.rand())


def supervised(
    network: nn.Module, shape: tuple[int, ...], *, optimizer: Optimizer | None = None, forward: Any = None, steps: int = STEPS
) -> Outcome:
    """The plainest of loops: classify random batches into four classes."""
    optimizer = optimizer or torch.optim.Adam(network.parameters(), lr=0.01)
    losses: list[float] = []
    for _ in range(steps):
        inputs, targets = draw(*shape), torch.randint(4, shape[:1])
        optimizer.zero_grad()
        loss = F.cross_entropy((forward or network)(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return outcome(losses, [network], [optimizer])


def mlp() -> Outcome:
    seeded()
    network = small_mlp()
    return supervised(network, (5, 6), optimizer=torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9))


def inplace_relu() -> Outcome:
    seeded()
    return supervised(small_mlp(inplace=True), (5, 6))


def cnn() -> Outcome:
    seeded()
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.4), nn.Flatten(), nn.Linear(16, 4)
    )
    return supervised(network, (5, 2, 6, 6))


def lstm() -> Outcome:
    seeded()
    return supervised(LastOfLSTM(), (4, 6, 3))


def transformer() -> Outcome:
    seeded()
    return supervised(Encoder(), (4, 5, 8))


def frozen_encoder() -> Outcome:
    """A frozen encoder in eval mode takes torch's fast path, whose last bits differ from the slow one's."""
    seeded()
    network = Encoder()
    network.encoder.eval().requires_grad_(False)
    return supervised(network, (4, 5, 8), optimizer=torch.optim.SGD(network.head.parameters(), lr=0.1))


def functional() -> Outcome:
    seeded()
    return supervised(Functional(), (5, 6))


def accumulation() -> Outcome:
    seeded()
    network = small_mlp()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    losses = []
    for _ in range(STEPS):
        parts = []
        for _ in range(3):
            loss = F.cross_entropy(network(draw(5, 6)), torch.randint(4, (5,))) / 3
            loss.backward()
            parts.append(loss.item())
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(sum(parts) / 3)
    return outcome(losses, [network], [optimizer])


def gan(critic_steps: int = 1) -> Outcome:
    seeded()
    generator = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))
    critic = nn.Sequential(nn.Linear(2, 6), nn.LeakyReLU(0.2), nn.Linear(6, 1))
    critics = torch.optim.Adam(critic.parameters(), lr=0.01)
    generators = torch.optim.Adam(generator.parameters(), lr=0.01)
    losses = []
    for _ in range(STEPS):
        judgements = []
        for _ in range(critic_steps):
            critics.zero_grad()
            judged = F.softplus(-critic(draw(5, 2))).mean() + F.softplus(critic(generator(draw(5, 3)).detach())).mean()
            judged.backward()
            critics.step()
            judgements.append(judged.item())
        generators.zero_grad()
        fooled = F.softplus(-critic(generator(draw(5, 3)))).mean()
        fooled.backward()
        generators.step()
        losses.append((sum(judgements) / critic_steps, fooled.item()))
    return outcome(losses, [generator, critic], [critics, generators])


def optimizer_per_layer() -> Outcome:
    seeded()
    network = small_mlp()
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in network if list(layer.parameters())]
    losses = []
    for _ in range(STEPS):
        loss = F.cross_entropy(network(draw(5, 6)), torch.randint(4, (5,)))
        network.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append((loss.item(), float("nan"), float("nan")))
    return outcome(losses, [network], list(optimizers))


def lbfgs() -> Outcome:
    seeded()
    network = small_mlp()
    optimizer = torch.optim.LBFGS(network.parameters(), lr=0.1, max_iter=4)
    losses = []
    for _ in range(STEPS):
        inputs, targets = draw(5, 6), torch.randint(4, (5,))
        seen: list[float] = []

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(inputs), targets)  # noqa: B023
            loss.backward()
            seen.append(loss.item())  # noqa: B023
            return loss

        optimizer.step(closure)
        losses.append(seen[0])
    return outcome(losses, [network], [optimizer])


def by_hand(update: Callable[[Tensor], object]) -> Outcome:
    seeded()
    network = small_mlp()
    losses = []
    for _ in range(STEPS):
        loss = F.cross_entropy(network(draw(5, 6)), torch.randint(4, (5,)))
        loss.backward()
        for parameter in network.parameters():
            update(parameter)
            parameter.grad = None
        losses.append(loss.item())
    return outcome(losses, [network], [])


def through_data(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.data -= 0.1 * parameter.grad


@torch.no_grad()
def under_no_grad(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.sub_(0.1 * parameter.grad)


def checkpointed(*, reentrant: bool) -> Outcome:
    seeded()
    return supervised(Checkpointed(reentrant=reentrant), (5, 6))


def checkpointed_outside() -> Outcome:
    """The whole network runs within the checkpoint, so it is the outermost module of the recomputation too."""
    seeded()
    network = small_mlp()
    return supervised(network, (5, 6), forward=lambda x: checkpoint(network, x, use_reentrant=False))


def mixed_precision() -> Outcome:
    seeded()
    network = small_mlp()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=4)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(network(draw(5, 6)), torch.randint(4, (5,)))
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    result = outcome(losses, [network], [optimizer])
    return Outcome(result.losses, result.state | {"scaler": scaler.state_dict()})


def gradient_penalty() -> Outcome:
    seeded()
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(STEPS):
        inputs = draw(5, 6).requires_grad_()
        output = network(inputs).sum()
        (slope,) = torch.autograd.grad(output, inputs, create_graph=True)
        loss = output.square() + (slope.norm(dim=1) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return outcome(losses, [network], [optimizer])


def with_evaluation() -> Outcome:
    seeded()
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for step in range(STEPS):
        network.train()
        loss = F.cross_entropy(network(draw(5, 6)), torch.randint(4, (5,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        network.eval()
        with torch.no_grad() if step % 2 else torch.inference_mode():
            assert network(draw(3, 6)).isfinite().all()
    return outcome(losses, [network], [optimizer])


def beside_a_thread() -> Outcome:
    """Another thread runs a network of its own, with gradients on, all the while."""
    seeded()
    network, other, done = small_mlp(), small_mlp(), threading.Event()
    fixed = torch.ones(2, 6)

    def run_other() -> None:
        while not done.is_set():
            other(fixed)

    thread = threading.Thread(target=run_other)
    thread.start()
    try:
        return supervised(network, (5, 6))
    finally:
        done.set()
        thread.join()


MLP_SITES = ("0", "1", "2", "3", "4")
TRAININGS: dict[str, Training] = {
    "mlp": Training(mlp, MLP_SITES),
    "in-place relu": Training(inplace_relu, MLP_SITES),
    "cnn with batchnorm and dropout": Training(cnn, ("0", "1", "2", "3", "6")),
    "lstm": Training(lstm, ("lstm", "head")),
    "transformer encoder": Training(transformer),
    "frozen encoder in eval mode": Training(frozen_encoder),
    "functional, shared, never called, unregistered": Training(
        functional, ("first", "network:relu", "shared", "network:tanh", "network:relu#2", "hidden.0", "last")
    ),
    "accumulation": Training(accumulation, MLP_SITES),
    "gan": Training(gan),
    "gan with five critic steps": Training(lambda: gan(5), prelude=4),
    "one optimizer a layer": Training(optimizer_per_layer, MLP_SITES),
    "lbfgs with a closure": Training(lbfgs, MLP_SITES),
    "by hand through .data": Training(lambda: by_hand(through_data), MLP_SITES),
    "by hand under no_grad": Training(lambda: by_hand(under_no_grad), MLP_SITES),
    "checkpointing, reentrant": Training(lambda: checkpointed(reentrant=True)),
    "checkpointing, not reentrant": Training(lambda: checkpointed(reentrant=False)),
    "checkpointing from outside": Training(checkpointed_outside, MLP_SITES),
    "autocast and gradient scaler": Training(mixed_precision, MLP_SITES),
    "gradient penalty": Training(gradient_penalty, ("0", "1", "2")),
    "evaluation between steps": Training(with_evaluation, ("0", "1", "2", "4")),
    "beside a thread": Training(beside_a_thread, MLP_SITES),
}
