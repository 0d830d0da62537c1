"""Healthy trainings of many kinds, some of which look suspicious. Each takes under three seconds."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import (
    EmbeddingBagClassifier,
    GatedResidualBlock,
    MixtureOfExperts,
    RecurrentClassifier,
    ResidualBlock,
    TransformerClassifier,
    VariationalAutoencoder,
    he_normal,
    images,
    mlp,
    points,
    reinitialise,
    sequences,
    texts,
    train_watched,
    waves,
)
from torch import Tensor, nn

import unvanish
from unvanish.workflows.watch import WatchedRun


def deep_relu_with_he() -> WatchedRun:
    model = reinitialise(mlp((20, *[32] * 12, 4), nn.ReLU), he_normal)
    return train_watched(model, points, optimizer=torch.optim.Adam(model.parameters(), 1e-3))


def residual_network_with_batchnorm() -> WatchedRun:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        *[ResidualBlock(8) for _ in range(4)],
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(72, 2),
    )
    return train_watched(model, images, steps=80, optimizer=torch.optim.SGD(model.parameters(), 0.05, momentum=0.9))


def convolutions_with_pooling() -> WatchedRun:
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Dropout(0.3), nn.Linear(144, 2)),
    )
    return train_watched(model, images, steps=100)


def long_short_term_memory() -> WatchedRun:
    return train_watched(RecurrentClassifier(nn.LSTM(3, 16, num_layers=2, batch_first=True)), sequences, steps=150)


def gated_recurrent_unit() -> WatchedRun:
    return train_watched(RecurrentClassifier(nn.GRU(3, 16, batch_first=True)), sequences, steps=150)


def transformer() -> WatchedRun:
    return train_watched(TransformerClassifier(), texts, steps=150)


def embedding_with_rare_words() -> WatchedRun:
    model = EmbeddingBagClassifier()
    return train_watched(model, texts, optimizer=torch.optim.Adam(model.parameters(), 0.01))


def adversarial_pair() -> WatchedRun:
    generator, critic = mlp((4, 24, 24, 2), nn.ReLU), mlp((2, 24, 24, 1), lambda: nn.LeakyReLU(0.2))
    g_opt, d_opt = (torch.optim.Adam(m.parameters(), 1e-3, betas=(0.5, 0.999)) for m in (generator, critic))
    with unvanish.watch(generator, critic) as run:
        for _ in range(150):
            real, fake = torch.randn(64, 2) + 2, generator(torch.randn(64, 4))
            d_opt.zero_grad()
            (F.softplus(-critic(real)).mean() + F.softplus(critic(fake.detach())).mean()).backward()
            d_opt.step()
            g_opt.zero_grad()
            F.softplus(-critic(fake)).mean().backward()
            g_opt.step()
    return run


def siamese_twins() -> WatchedRun:
    model = mlp((20, 32, 32, 8), nn.ReLU)

    def contrastive(ours: Tensor, y: Tensor) -> Tensor:
        same = (y[:32] == y[32:]).float()
        distance = (ours[:32] - ours[32:]).norm(dim=1)
        return (same * distance.square() + (1 - same) * F.relu(2 - distance).square()).mean()

    return train_watched(model, points, loss=contrastive)


def called_once_for_each_twin() -> WatchedRun:
    model = mlp((20, 32, 8), nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    with unvanish.watch(model) as run:
        for step in range(150):
            (a, p), (b, q) = points(2 * step), points(2 * step + 1)
            optimizer.zero_grad()
            F.cosine_embedding_loss(model(a), model(b), (p == q).float() * 2 - 1).backward()
            optimizer.step()
    return run


def fine_tuning_with_frozen_layers() -> WatchedRun:
    model = reinitialise(mlp((20, 48, 48, 48, 4), nn.ReLU), he_normal)
    for parameter in model[:4].parameters():
        parameter.requires_grad_(False)
    return train_watched(model, points, optimizer=torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 2e-3))


def fine_tuning_of_the_head_alone() -> WatchedRun:
    model = reinitialise(mlp((20, 48, 48, 4), nn.ReLU), he_normal)
    return train_watched(model, points, optimizer=torch.optim.SGD(model[-1].parameters(), 0.05))


def converged_long_ago() -> WatchedRun:
    model = mlp((20, 32, 4), nn.ReLU)
    x, y = points(0)
    return train_watched(model, lambda _: (x, y), steps=600, optimizer=torch.optim.Adam(model.parameters(), 1e-2))


def tiny_gradients_with_adam() -> WatchedRun:
    model = mlp((20, 32, 32, 4), nn.ReLU)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3, eps=1e-16)
    return train_watched(model, points, loss=lambda out, y: 1e-6 * F.cross_entropy(out, y), optimizer=optimizer)


def sparse_relu_with_l1() -> WatchedRun:
    encoder, decoder = nn.Sequential(nn.Linear(20, 128), nn.ReLU()), nn.Linear(128, 20)
    model = nn.Sequential(encoder, decoder)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with unvanish.watch(model) as run:
        for step in range(250):
            x, _ = points(step)
            optimizer.zero_grad()
            code = encoder(x)
            (F.mse_loss(decoder(code), x) + 0.02 * code.abs().mean()).backward()
            optimizer.step()
    return run


def autoencoder() -> WatchedRun:
    model = nn.Sequential(mlp((20, 32, 4), nn.GELU), mlp((4, 32, 20), nn.GELU))
    return train_watched(model, lambda step: (points(step)[0],) * 2, loss=F.mse_loss)


def variational_autoencoder() -> WatchedRun:
    return train_watched(VariationalAutoencoder(), lambda step: (points(step)[0],) * 2, loss=F.mse_loss)


def accumulation_over_four_parts() -> WatchedRun:
    model = mlp((20, 32, 32, 4), nn.SiLU)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    with unvanish.watch(model) as run:
        for step in range(100):
            optimizer.zero_grad()
            for part in range(4):
                x, y = points(4 * step + part, batch=16)
                (F.cross_entropy(model(x), y) / 4).backward()
            optimizer.step()
    return run


def regression_with_small_targets() -> WatchedRun:
    model = mlp((1, 32, 32, 1), nn.Tanh)
    return train_watched(model, lambda step: waves(step, size=1e-3), loss=F.mse_loss, steps=300)


def regression_with_large_targets() -> WatchedRun:
    model = mlp((1, 64, 64, 1), nn.ReLU)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    return train_watched(model, lambda step: waves(step, size=100.0), loss=F.mse_loss, steps=300, optimizer=optimizer)


def layernorm_in_a_deep_gelu_network() -> WatchedRun:
    return train_watched(mlp((20, *[32] * 8, 4), nn.GELU, between=nn.LayerNorm), points)


def two_sigmoid_layers() -> WatchedRun:
    model = mlp((20, 32, 32, 4), nn.Sigmoid)
    return train_watched(model, points, optimizer=torch.optim.Adam(model.parameters(), 1e-2))


def warm_up_and_decay() -> WatchedRun:
    model = mlp((20, 32, 32, 4), nn.ReLU)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=200)
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    return train_watched(model, points, optimizer=optimizer)


def labels_that_are_partly_wrong() -> WatchedRun:
    def noisy(step: int) -> tuple[Tensor, Tensor]:
        x, y = points(step)
        return x, torch.where(torch.rand(len(y)) < 0.3, torch.randint(0, 4, y.shape), y)

    return train_watched(mlp((20, 32, 32, 4), nn.ReLU), noisy)


def an_output_that_is_squashed() -> WatchedRun:
    model = nn.Sequential(mlp((20, 32, 1), nn.ReLU), nn.Sigmoid())
    return train_watched(model, points, loss=lambda out, y: F.binary_cross_entropy(out[:, 0], (y > 1).float()))


def a_short_run() -> WatchedRun:
    return train_watched(mlp((20, 32, 32, 4), nn.ReLU), points, steps=15)


def residual_branches_that_start_at_zero() -> WatchedRun:
    return train_watched(nn.Sequential(nn.Linear(20, 32), *[GatedResidualBlock(32) for _ in range(12)], nn.Linear(32, 4)), points)


def mixture_of_experts() -> WatchedRun:
    return train_watched(MixtureOfExperts(), points)


def autocast_in_bfloat16() -> WatchedRun:
    model = mlp((20, 64, 64, 4), nn.ReLU)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    with unvanish.watch(model) as run:
        for step in range(120):
            x, y = points(step)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
    return run


def policy_gradient() -> WatchedRun:
    def surprise(out: Tensor, y: Tensor) -> Tensor:
        choice = torch.distributions.Categorical(logits=out)
        action = choice.sample()
        reward = (action == y).float()
        return -(choice.log_prob(action) * (reward - reward.mean())).mean()

    return train_watched(mlp((20, 32, 32, 4), nn.Tanh), points, loss=surprise)


def critic_with_gradient_penalty() -> WatchedRun:
    generator, critic = mlp((4, 32, 2), nn.ReLU), mlp((2, 32, 1), lambda: nn.LeakyReLU(0.2))
    g_opt, c_opt = (torch.optim.Adam(m.parameters(), 1e-3, betas=(0.0, 0.9)) for m in (generator, critic))
    with unvanish.watch(generator, critic) as run:
        for _ in range(100):
            real, fake = torch.randn(32, 2) + 2, generator(torch.randn(32, 4)).detach()
            between = torch.lerp(real, fake, torch.rand(32, 1)).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            c_opt.zero_grad()
            (critic(fake).mean() - critic(real).mean() + 10 * (slope.norm(dim=1) - 1).square().mean()).backward()
            c_opt.step()
            g_opt.zero_grad()
            (-critic(generator(torch.randn(32, 4))).mean()).backward()
            g_opt.step()
    return run


def deep_tanh_with_glorot() -> WatchedRun:
    model = reinitialise(mlp((20, *[32] * 15, 4), nn.Tanh), nn.init.xavier_normal_)
    return train_watched(model, points, optimizer=torch.optim.Adam(model.parameters(), 1e-3))


def a_long_warm_up() -> WatchedRun:
    model = mlp((20, 32, 32, 4), nn.ReLU)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 1000))
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    return train_watched(model, points, optimizer=optimizer)


def quasi_newton_with_closures() -> WatchedRun:
    model = mlp((1, 16, 1), nn.Tanh)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5)
    x, y = waves(0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        return loss

    with unvanish.watch(model) as run:
        for _ in range(60):
            optimizer.step(closure)
    return run


HEALTHY: tuple[Callable[[], WatchedRun], ...] = (
    deep_relu_with_he,
    residual_network_with_batchnorm,
    convolutions_with_pooling,
    long_short_term_memory,
    gated_recurrent_unit,
    transformer,
    embedding_with_rare_words,
    adversarial_pair,
    siamese_twins,
    called_once_for_each_twin,
    fine_tuning_with_frozen_layers,
    fine_tuning_of_the_head_alone,
    converged_long_ago,
    tiny_gradients_with_adam,
    sparse_relu_with_l1,
    autoencoder,
    variational_autoencoder,
    accumulation_over_four_parts,
    regression_with_small_targets,
    regression_with_large_targets,
    layernorm_in_a_deep_gelu_network,
    two_sigmoid_layers,
    warm_up_and_decay,
    labels_that_are_partly_wrong,
    an_output_that_is_squashed,
    a_short_run,
    residual_branches_that_start_at_zero,
    mixture_of_experts,
    autocast_in_bfloat16,
    policy_gradient,
    critic_with_gradient_penalty,
    deep_tanh_with_glorot,
    a_long_warm_up,
    quasi_newton_with_closures,
)
