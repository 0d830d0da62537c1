"""Small trainings of every kind, each with the sites and steps that its record must have."""

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
    """The losses of a training, one row a step and one column an optimizer, and every bit of its final state."""

    losses: list[tuple[float, ...]]
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Training:
    """A training of STEPS steps, and the sites that its record must have, in order (None: not checked).

    `extra_steps` counts the steps that are recorded in addition, before the optimizer that ends a step has stepped.
    """

    run: Callable[[], Outcome]
    sites: tuple[str, ...] | None = None
    extra_steps: int = 0


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


def set_seeds() -> None:
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)


def draw(*shape: int) -> Tensor:
    """A batch that depends on all three random generators, so that using any of them changes it."""
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
    set_seeds()
    network = small_mlp()
    return supervised(network, (5, 6), optimizer=torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9))


def inplace_relu() -> Outcome:
    set_seeds()
    return supervised(small_mlp(inplace=True), (5, 6))


def cnn() -> Outcome:
    set_seeds()
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.4), nn.Flatten(), nn.Linear(16, 4)
    )
    return supervised(network, (5, 2, 6, 6))


def lstm() -> Outcome:
    set_seeds()
    return supervised(LastOfLSTM(), (4, 6, 3))


def transformer() -> Outcome:
    set_seeds()
    return supervised(Encoder(), (4, 5, 8))


def frozen_encoder() -> Outcome:
    """A frozen encoder in eval mode takes torch's fast path, whose last bits differ from the slow one's."""
    set_seeds()
    network = Encoder()
    network.encoder.eval().requires_grad_(False)
    return supervised(network, (4, 5, 8), optimizer=torch.optim.SGD(network.head.parameters(), lr=0.1))


def functional() -> Outcome:
    set_seeds()
    return supervised(Functional(), (5, 6))


def accumulation() -> Outcome:
    set_seeds()
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
    set_seeds()
    generator = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))
    critic = nn.Sequential(nn.Linear(2, 6), nn.LeakyReLU(0.2), nn.Linear(6, 1))
    critics = torch.optim.Adam(critic.parameters(), lr=0.01)
    generators = torch.optim.Adam(generator.parameters(), lr=0.01)
    losses = []
    for _ in range(STEPS):
        critic_losses = []
        for _ in range(critic_steps):
            critics.zero_grad()
            critic_loss = F.softplus(-critic(draw(5, 2))).mean() + F.softplus(critic(generator(draw(5, 3)).detach())).mean()
            critic_loss.backward()
            critics.step()
            critic_losses.append(critic_loss.item())
        generators.zero_grad()
        generator_loss = F.softplus(-critic(generator(draw(5, 3)))).mean()
        generator_loss.backward()
        generators.step()
        losses.append((sum(critic_losses) / critic_steps, generator_loss.item()))
    return outcome(losses, [generator, critic], [critics, generators])


def optimizer_per_layer() -> Outcome:
    set_seeds()
    network = small_mlp()
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in network if list(layer.parameters())]
    losses = []
    for _ in range(STEPS):
        loss = F.cross_entropy(network(draw(5, 6)), torch.randint(4, (5,)))
        network.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append((loss.item(),) * 3)  # each of the three optimizers steps on its gradient
    return outcome(losses, [network], list(optimizers))


def lbfgs() -> Outcome:
    set_seeds()
    network = small_mlp()
    optimizer = torch.optim.LBFGS(network.parameters(), lr=0.1, max_iter=4)
    losses = []
    for _ in range(STEPS):
        inputs, targets = draw(5, 6), torch.randint(4, (5,))
        closure_losses: list[float] = []

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(inputs), targets)  # noqa: B023
            loss.backward()
            closure_losses.append(loss.item())  # noqa: B023
            return loss

        optimizer.step(closure)
        losses.append(closure_losses[0])
    return outcome(losses, [network], [optimizer])


def by_hand(update: Callable[[Tensor], object]) -> Outcome:
    set_seeds()
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
    set_seeds()
    return supervised(Checkpointed(reentrant=reentrant), (5, 6))


def checkpointed_outside() -> Outcome:
    """The whole network runs within the checkpoint, so it is the outermost module of the recomputation too."""
    set_seeds()
    network = small_mlp()
    return supervised(network, (5, 6), forward=lambda x: checkpoint(network, x, use_reentrant=False))


def mixed_precision() -> Outcome:
    set_seeds()
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
    set_seeds()
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
    set_seeds()
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
    set_seeds()
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
    "gan with five critic steps": Training(lambda: gan(5), extra_steps=4),
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
