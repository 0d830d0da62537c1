"""Healthy trainings with more than one loss, network or optimizer, as people's programs have them. Each takes under 3 seconds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import mlp, points, waves
from torch import Tensor, nn

import unvanish
from unvanish.workflows.watch import WatchedRun


class TwoPlayers(nn.Module):
    """Generator and discriminator as children of one module, as in Lightning."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = mlp((4, 24, 24, 2), nn.ReLU)
        self.discriminator = mlp((2, 24, 24, 1), lambda: nn.LeakyReLU(0.2))


def opponents_in_one_module() -> WatchedRun:
    players = TwoPlayers()
    g_opt, d_opt = (torch.optim.Adam(m.parameters(), 1e-3) for m in (players.generator, players.discriminator))
    ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
    with unvanish.watch(players) as run:
        for _ in range(100):
            g_opt.zero_grad()
            F.binary_cross_entropy_with_logits(players.discriminator(players.generator(torch.randn(64, 4))), ones).backward()
            g_opt.step()
            d_opt.zero_grad()
            F.binary_cross_entropy_with_logits(players.discriminator(torch.randn(64, 2) + 2), ones).backward()
            fake = players.generator(torch.randn(64, 4)).detach()
            F.binary_cross_entropy_with_logits(players.discriminator(fake), zeros).backward()
            d_opt.step()
    return run


def temporal_differences() -> WatchedRun:
    """A value function of a walk that is rewarded at every step: its targets grow as it learns."""
    values = mlp((4, 48, 48, 1), nn.ReLU)
    target, optimizer = copy.deepcopy(values), torch.optim.Adam(values.parameters(), 2e-3)
    with unvanish.watch() as run:
        for step in range(300):
            state = torch.randn(64, 4)
            with torch.no_grad():
                aim = 1 + 0.1 * state[:, :1] + 0.98 * target(state + 0.1 * torch.randn(64, 4))
            optimizer.zero_grad()
            F.mse_loss(values(state), aim).backward()
            optimizer.step()
            if step % 5 == 0:
                target.load_state_dict(values.state_dict())
    return run


def a_summed_loss_and_its_validation() -> WatchedRun:
    """A variational autoencoder as in pytorch/examples: trained on sums over a batch, validated by sums over an example."""
    encoder, decoder = mlp((64, 48, 8), nn.ReLU), mlp((4, 48, 64), nn.ReLU)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 2e-3)
    patterns = (torch.rand(6, 64) > 0.5).float()

    def summed_loss(x: Tensor) -> Tensor:
        mean, log_variance = encoder(x).chunk(2, dim=1)
        rebuilt = torch.sigmoid(decoder(mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)))
        divergence = -0.5 * torch.sum(1 + log_variance - mean.square() - log_variance.exp())
        return F.binary_cross_entropy(rebuilt, x, reduction="sum") + divergence

    with unvanish.watch() as run:
        for step in range(120):
            optimizer.zero_grad()
            summed_loss(patterns[torch.randint(6, (64,))]).backward()
            optimizer.step()
            if step % 60 == 59:
                with torch.no_grad():
                    unvanish.log(test_loss=summed_loss(patterns).item() / 6)
    return run


def a_differential_equation() -> WatchedRun:
    """A network that is to solve u'' = -u, by its second derivatives and its values at both ends."""
    network = mlp((1, 24, 24, 1), nn.Tanh)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    ends, at_ends = torch.tensor([[0.0], [math.pi / 2]]), torch.tensor([[0.0], [1.0]])
    with unvanish.watch(network) as run:
        for _ in range(200):
            x = (torch.rand(32, 1) * math.pi / 2).requires_grad_()
            u = network(x)
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            (curvature,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
            optimizer.zero_grad()
            ((curvature + u).square().mean() + F.mse_loss(network(ends), at_ends)).backward()
            optimizer.step()
    return run


def networks_one_after_the_other() -> WatchedRun:
    with unvanish.watch() as run:
        for width in (16, 32, 48):
            network = mlp((20, width, width, 4), nn.ReLU)
            optimizer = torch.optim.Adam(network.parameters(), 3e-3)
            for step in range(60):
                x, y = points(step)
                optimizer.zero_grad()
                F.cross_entropy(network(x), y).backward()
                optimizer.step()
    return run


def frozen_features_and_a_small_head() -> WatchedRun:
    """A head on random features that never learn: it cannot tell all that the data hold, and is not to blame."""
    features = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 4), nn.Tanh()).requires_grad_(requires_grad=False)
    network = nn.Sequential(features, nn.Linear(4, 1))
    optimizer = torch.optim.SGD(network[1].parameters(), 0.05)
    with unvanish.watch(network) as run:
        for step in range(200):
            x, y = waves(step)
            optimizer.zero_grad()
            F.mse_loss(network(x), y).backward()
            optimizer.step()
    return run


def two_optimizers_on_one_loss() -> WatchedRun:
    network = mlp((20, 32, 32, 32, 4), nn.ReLU)
    matrices = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() < 2]
    optimizers = torch.optim.SGD(matrices, 0.1), torch.optim.AdamW(others, 1e-3)
    with unvanish.watch(network) as run:
        for step in range(100):
            x, y = points(step)
            network.zero_grad()
            F.cross_entropy(network(x), y).backward()
            for optimizer in optimizers:
                optimizer.step()
    return run


HEALTHY_PROGRAMS: tuple[Callable[[], WatchedRun], ...] = (
    opponents_in_one_module,
    temporal_differences,
    a_summed_loss_and_its_validation,
    a_differential_equation,
    networks_one_after_the_other,
    frozen_features_and_a_small_head,
    two_optimizers_on_one_loss,
)
