"""Trainings with a planted fault, so that the root is known. Each takes under three seconds."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import DetachedFeatures, LayersInList, mlp, points, reinitialise, train_watched, waves
from torch import Tensor, nn

from unvanish.workflows.watch import WatchedRun


def nine_sigmoid_layers() -> WatchedRun:
    return train_watched(mlp((20, *[20] * 9, 4), nn.Sigmoid), points)


def deep_tanh_with_small_weights() -> WatchedRun:
    model = reinitialise(mlp((20, *[32] * 10, 4), nn.Tanh), lambda w: nn.init.normal_(w, std=0.08))
    return train_watched(model, points, optimizer=torch.optim.SGD(model.parameters(), 0.05))


def deep_relu_with_small_weights() -> WatchedRun:
    model = reinitialise(mlp((20, *[40] * 10, 4), nn.ReLU), lambda w: nn.init.normal_(w, std=0.06))
    return train_watched(model, points, optimizer=torch.optim.SGD(model.parameters(), 0.05))


def deep_relu_with_large_weights() -> WatchedRun:
    model = reinitialise(mlp((20, *[32] * 14, 4), nn.ReLU), lambda w: nn.init.normal_(w, std=0.7))
    return train_watched(model, points, optimizer=torch.optim.SGD(model.parameters(), 1e-3))


def tanh_driven_to_its_ends() -> WatchedRun:
    model = reinitialise(mlp((20, *[64] * 3, 4), nn.Tanh), lambda w: nn.init.normal_(w, std=3.0))
    return train_watched(model, points, optimizer=torch.optim.SGD(model.parameters(), 1e-3))


def biases_that_switch_all_off() -> WatchedRun:
    model = mlp((20, 32, 32, 4), nn.ReLU)
    nn.init.constant_(model[2].bias, -20.0)
    return train_watched(model, points)


def layers_in_a_plain_list() -> WatchedRun:
    model = LayersInList()
    return train_watched(model, points, optimizer=torch.optim.Adam(model.parameters(), 2e-3))


def features_that_are_detached() -> WatchedRun:
    return train_watched(DetachedFeatures(), points)


def logarithm_of_zero() -> WatchedRun:
    def hand_made(out: Tensor, y: Tensor) -> Tensor:
        return -torch.softmax(60 * out, 1).log().gather(1, y[:, None]).mean()

    return train_watched(mlp((20, 32, 4), nn.ReLU), points, loss=hand_made, steps=60)


def all_weights_alike() -> WatchedRun:
    model = reinitialise(mlp((20, 32, 32, 4), nn.Tanh), lambda w: nn.init.constant_(w, 0.05))
    return train_watched(model, points, optimizer=torch.optim.SGD(model.parameters(), 0.05))


def steps_that_overshoot() -> WatchedRun:
    model = mlp((1, 32, 32, 1), nn.ReLU)
    return train_watched(
        model, lambda step: waves(step, size=3.0), loss=F.mse_loss, optimizer=torch.optim.SGD(model.parameters(), 3.0)
    )


def adam_with_a_rate_of_one() -> WatchedRun:
    model = mlp((20, *[32] * 5, 4), nn.ReLU)
    return train_watched(model, points, optimizer=torch.optim.Adam(model.parameters(), 1.0))


def steps_that_lead_nowhere() -> WatchedRun:
    model = mlp((20, 32, 32, 4), nn.ReLU)
    return train_watched(model, points, optimizer=torch.optim.SGD(model.parameters(), 1e-5))


def labels_drawn_by_lot() -> WatchedRun:
    def lots(step: int) -> tuple[Tensor, Tensor]:
        return points(step, batch=256)[0], torch.randint(0, 4, (256,))

    model = mlp((20, 32, 4), nn.ReLU)
    nn.init.normal_(model[-1].weight, std=0.01)
    return train_watched(model, lots, steps=300, optimizer=torch.optim.Adam(model.parameters(), 1e-3))


# Each with the code of its root and the codes of the cause that are right for it.
SICK: tuple[tuple[Callable[[], WatchedRun], str, set[str | None]], ...] = (
    (nine_sigmoid_layers, "vanishing-gradient", {"saturating-activation"}),
    (deep_tanh_with_small_weights, "vanishing-gradient", {"off-critical-init"}),
    (deep_relu_with_small_weights, "vanishing-gradient", {"off-critical-init"}),
    (deep_relu_with_large_weights, "exploding-gradient", {"off-critical-init"}),
    (tanh_driven_to_its_ends, "saturated-activation", {"off-critical-init"}),
    (biases_that_switch_all_off, "dead-units", {"dead-units"}),
    (layers_in_a_plain_list, "disconnected-parameter", {"detached-graph"}),
    (features_that_are_detached, "disconnected-parameter", {"detached-graph"}),
    (logarithm_of_zero, "non-finite", {"numerical-domain"}),
    (all_weights_alike, "symmetric-init", {"symmetric-init"}),
    (steps_that_overshoot, "learning-rate-too-high", {"learning-rate-too-high"}),
    (adam_with_a_rate_of_one, "learning-rate-too-high", {"learning-rate-too-high"}),
    (steps_that_lead_nowhere, "learning-rate-too-low", {"learning-rate-too-low"}),
    (labels_drawn_by_lot, "degenerate-labels", {"degenerate-labels"}),
)
