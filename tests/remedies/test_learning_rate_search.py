"""Tests of the learning-rate search: on curves whose answer is known, and on networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from digits import deep_network, digits, loss_after_training
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_state import state_with_hooks
from remedy_networks import mlp
from state_of_network import random_state
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from unvanish.errors import NotApplicable, UsageError
from unvanish.remedies import apply
from unvanish.remedies.catalogue.optimisation.clip_norm import ClipNorm
from unvanish.remedies.catalogue.optimisation.learning_rate import LearningRate
from unvanish.remedies.optimizers.learning_rate_search import find_learning_rate, losses_on_schedule, refine_rate, steepest_stable

CATALOGUE = {"learning-rate": LearningRate(), "clip-norm": ClipNorm()}
RATES = np.geomspace(1e-7, 10.0, 100)


def batch(rows: int = 256) -> dict[str, Any]:
    """A batch of digits, and its loss."""
    pixels, labels = digits()
    return {"inputs": pixels[:rows], "loss": lambda out: nn.functional.cross_entropy(out, labels[:rows])}


@settings(max_examples=40, deadline=None)
@given(middle=st.floats(-4.0, -1.0), depth=st.floats(0.5, 2.0), noise=st.floats(0.0, 0.02), seed=st.integers(0, 99))
def test_the_steepest_rate_of_a_sigmoid_curve_is_its_middle(middle: float, depth: float, noise: float, seed: int) -> None:
    losses = 2.3 - depth / (1 + np.exp(-(np.log10(RATES) - middle) * 8))
    losses[10 ** (middle + 1) < RATES] = 50.0
    losses += noise * np.random.default_rng(seed).normal(size=100)
    rate = steepest_stable(RATES[:95], losses[:95])
    assert rate is not None
    assert abs(math.log10(rate) - middle) < 0.3


def test_losses_after_divergence_do_not_count() -> None:
    losses = 2.0 - 1.0 / (1 + np.exp(-(np.log10(RATES) + 3) * 6))
    losses[80:85], losses[85:] = 40.0, 0.01
    rate = steepest_stable(RATES, losses)
    losses[80:] = np.nan
    assert rate == steepest_stable(RATES, losses) == pytest.approx(1e-3, rel=0.5)


@pytest.mark.parametrize(
    "losses",
    [
        np.full(100, 2.3),
        2.3 + np.maximum(0.0, np.linspace(-1, 1, 100)),
        np.full(100, np.nan),
        2.3 + 0.05 * np.random.default_rng(0).normal(size=100),
        np.array([2.3]),
    ],
    ids=["flat", "rising", "no number", "noise", "one"],
)
def test_a_loss_that_does_not_fall_gives_no_rate(losses: Any) -> None:
    assert steepest_stable(RATES[: len(losses)], losses) is None


def quadratic(rate: float) -> float:
    """The end of 60 steps of gradient descent on x^2 / 2 from 1: explodes from 2 on, fastest at 1."""
    return 0.5 * (1 - rate) ** 120 if rate < 2 else np.inf


@pytest.mark.parametrize(("steepest", "expected"), [(0.9, 0.9), (9.0, 1.0), (1.2, 0.6), (3.9, 0.65), (1e-3, 1e-3), (1e6, None)])
def test_the_rate_is_lowered_until_it_lasts(steepest: float, expected: float | None) -> None:
    rate = refine_rate(steepest, quadratic, start_loss=0.5)
    assert rate == (None if expected is None else pytest.approx(expected, rel=0.55))
    if rate is not None:
        assert quadratic(2 * rate) < 0.5


def test_losses_on_a_schedule_are_those_of_a_training_loop() -> None:
    arguments = batch(64)
    network = deep_network(2, nn.Tanh)
    optimizer = Adam(network.parameters(), lr=0.1)
    schedule = [(rate,) for rate in (1e-4, 1e-3, 1e-2, 1e-3)]
    losses = losses_on_schedule(network, optimizer, arguments["inputs"], arguments["loss"], schedule, 0)
    expected = []
    for (rate,) in schedule:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = arguments["loss"](network(arguments["inputs"]))
        expected.append(loss.item())
        loss.backward()
        optimizer.step()
    assert losses.tolist() == pytest.approx(expected, rel=1e-6)


def test_network_optimizer_and_random_state_stay_as_they_were() -> None:
    network = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10)).eval()
    hook_calls: list[str] = []
    network.register_forward_hook(lambda *_: hook_calls.append("hook"))
    optimizer = SGD(network.parameters(), lr=0.01, momentum=0.9)
    arguments = batch()
    penalty = nn.Parameter(torch.ones(1))
    cross_entropy = arguments["loss"]

    def loss(out: Tensor) -> Tensor:
        return cross_entropy(out) + 1e-3 * network[0].weight.square().sum() + 0 * penalty.sum()

    before, random_before = state_with_hooks(network, optimizer), random_state()
    first = find_learning_rate(network, optimizer, arguments["inputs"], loss, seed=0)
    assert first is not None
    assert state_with_hooks(network, optimizer) == before
    assert random_state() == random_before
    assert hook_calls == []
    assert all(p.grad is None for p in (*network.parameters(), penalty))
    torch.manual_seed(17)
    assert find_learning_rate(network, optimizer, arguments["inputs"], loss, seed=0) == first


@pytest.mark.parametrize("wrong", [1e-6, 30.0])
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_training_succeeds_where_the_rate_was_wrong_by_decades(kind: type[Optimizer], wrong: float) -> None:
    losses = []
    for treated in (False, True):
        network = deep_network(3, nn.ReLU)
        optimizer = kind(network.parameters(), lr=wrong)
        if treated:
            apply(network, "learning-rate", optimizer=optimizer, catalogue=CATALOGUE, **batch())
        losses.append(loss_after_training(network, optimizer, steps=300))
    assert not losses[0] < 2.2
    assert losses[1] < 0.3


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("depth", [1, 4])
def test_the_rate_is_about_as_good_as_the_best_of_a_grid(depth: int, momentum: float) -> None:
    def final_loss(rate: float) -> float:
        network = deep_network(depth, nn.Tanh)
        return loss_after_training(network, SGD(network.parameters(), lr=rate, momentum=momentum), steps=150)

    network = deep_network(depth, nn.Tanh)
    arguments = batch()
    rate_found = find_learning_rate(
        network, SGD(network.parameters(), lr=1.0, momentum=momentum), arguments["inputs"], arguments["loss"], seed=0
    )
    assert rate_found is not None
    grid = [10**exponent for exponent in np.arange(-3, 1.1, 0.5)]
    best = min(final_loss(rate) for rate in grid)
    assert final_loss(rate_found) < best + 0.3 * (2.3 - best)


def test_proportions_of_the_groups_and_the_scheduler_stay() -> None:
    network = deep_network(2, nn.Tanh)
    optimizer = SGD([{"params": network[0].parameters(), "lr": 1e-5}, {"params": network[2:].parameters()}], lr=1e-4)
    change = apply(network, "learning-rate", optimizer=optimizer, catalogue=CATALOGUE, **batch())
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert second > 1e-2
    assert second / first == pytest.approx(10)
    assert change.edits[0].after == f"SGD(lr={first!r} | {second!r})"
    change.undo()
    LambdaLR(optimizer, lambda t: 0.5)
    change = apply(network, "learning-rate", optimizer=optimizer, catalogue=CATALOGUE, **batch())
    assert [group["lr"] for group in optimizer.param_groups] == [5e-6, 5e-5]
    assert f"{second / 1e-4:.3g} times the scheduler's rate" in change.edits[0].after
    with pytest.raises(NotApplicable, match="is right already"):
        apply(network, "learning-rate", optimizer=optimizer, catalogue=CATALOGUE, **batch())


def test_the_search_clips_gradients_where_the_optimizer_does() -> None:
    network = deep_network(3, nn.ReLU)
    optimizer = SGD(network.parameters(), lr=1e-4)
    arguments = batch() | {"loss": lambda out: 1e6 * batch()["loss"](out)}
    unclipped = find_learning_rate(network, optimizer, arguments["inputs"], arguments["loss"], seed=0)
    apply(network, "clip-norm", optimizer=optimizer, catalogue=CATALOGUE)
    clipped = find_learning_rate(network, optimizer, arguments["inputs"], arguments["loss"], seed=0)
    assert unclipped is not None
    assert clipped is not None
    assert clipped > 1e3 * unclipped


def test_missing_or_wrong_arguments_are_named() -> None:
    network = mlp()
    optimizer = SGD(network.parameters(), lr=0.1)
    rows = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))

    def expect_error(error: type[Exception], match: str, **arguments: Any) -> None:
        with pytest.raises(error, match=match):
            apply(
                network,
                "learning-rate",
                catalogue=CATALOGUE,
                **{"optimizer": optimizer, "inputs": rows, "loss": Tensor.sum} | arguments,
            )

    expect_error(NotApplicable, "pass inputs= and loss=", loss=None)
    expect_error(NotApplicable, "pass inputs= and loss=", inputs=None)
    expect_error(NotApplicable, "LBFGS chooses its own", optimizer=LBFGS(network.parameters()))
    expect_error(NotApplicable, "give one at a time", optimizer=[optimizer, Adam(network.parameters())])
    expect_error(NotApplicable, "falls at no rate", loss=lambda out: 0 * out.sum() + 2.3)
    expect_error(UsageError, "must make one number", loss=lambda out: out)
    expect_error(UsageError, r"KeyError: 'labels'", loss=lambda out: {}["labels"])
    expect_error(UsageError, "cannot be trained on inputs=", inputs=torch.zeros(8, 7))
