"""Finds a learning rate by a range test on copies of the network and its optimizer (Smith 2017, arXiv 1506.01186)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.errors import UsageError
from unvanish.remedies.graph.model_copy import model_copy, without_side_effects
from unvanish.remedies.graph.shape_probe import call_with_inputs
from unvanish.remedies.hooks.clip_adaptive import ClipAdaptive
from unvanish.remedies.hooks.clip_norm import ClipNorm
from unvanish.remedies.optimizers.group_settings import find_hooks, scale_rates

FloatArray = npt.NDArray[np.float64]

LOWEST_RATE, HIGHEST_RATE, RAMP_STEPS = 1e-7, 10.0, 100
"""The range test (Smith 2017, arXiv 1506.01186, sec. 3.3, there linear): nothing moves at the lowest rate, most diverges at the
highest."""

DIVERGENCE_FACTOR = 4.0
"""Training counts as diverged, and ends, where the loss is more than this many times the first loss."""

MAX_RISE, NOISE_DEVIATIONS = 0.1, 4.0
"""The rate is too large where the loss is above the first one by this part of it and by so many deviations of the noise."""

INITIAL_STEPS = 5
"""Steps of the range test over which the initial loss is averaged: the rate has doubled after them."""

MEDIAN_SECOND_DIFFERENCE = 0.6745 * math.sqrt(6.0)
"""The median absolute second difference of Gaussian noise of standard deviation one."""

SMOOTHING_WIDTH = 3
"""Standard deviation of the Gaussian that smooths the loss, in steps of the range test: a quarter of a decade."""

MIN_FALL = 1e-3
"""The part of the first loss by which it has to fall for a rate to count as training: plain deep networks take long to start."""

HOLD_STEPS, FINAL_STEPS = 60, 10
"""Steps at a constant rate, and how many of the last ones the loss is averaged over; most networks that diverge do so by then."""

RATE_DIVISOR, MAX_REDUCTIONS, STABILITY_MARGIN = 3.0, 6, 2.0
"""By what the rate is divided to try a lower one, how often at most, and how far the rate has to stay from one that diverges."""


def steepest_stable(rates: FloatArray, losses: FloatArray) -> float | None:
    """The rate at which the loss falls most steeply over the logarithm of the rate; None where it does not fall.

    Both are cut where the loss is not finite or leaps above the first; the rest is smoothed by a symmetric window, which does not
    shift it. Smith 2017, arXiv 1506.01186, sec. 3.3.

    Arguments:
        rates: learning rates that rise by equal factors, (steps,).
        losses: the loss before the step at each rate, (steps,).
    """
    start_loss, deviation = initial_loss(losses), _noise_deviation(losses[np.isfinite(losses)])
    highest_loss = start_loss + max(MAX_RISE * abs(start_loss), NOISE_DEVIATIONS * deviation)
    smoothed = _smooth(losses[np.logical_and.accumulate(losses <= highest_loss)])  # a comparison with nan is false
    min_fall = max(MIN_FALL * abs(start_loss), 0.5 * NOISE_DEVIATIONS * deviation)  # smoothed, noise is a third
    if len(smoothed) < 2 or not start_loss - smoothed.min() > min_fall:
        return None
    return float(rates[int(np.argmin(np.gradient(smoothed)))])


def initial_loss(losses: FloatArray) -> float:
    """The loss before any training: the mean over the first steps of a range test."""
    return float(losses[:INITIAL_STEPS].mean())


def _noise_deviation(losses: FloatArray) -> float:
    """The standard deviation of losses around a smooth curve, from their second differences; 0 for fewer than three losses."""
    second_differences = np.abs(np.diff(losses, 2))
    return float(np.median(second_differences)) / MEDIAN_SECOND_DIFFERENCE if len(second_differences) else 0.0


def _smooth(losses: FloatArray) -> FloatArray:
    half_width = 4 * SMOOTHING_WIDTH
    weights: FloatArray = np.exp(-0.5 * (np.arange(-half_width, half_width + 1) / SMOOTHING_WIDTH) ** 2)
    if not len(losses):
        return losses
    return np.asarray(np.convolve(np.pad(losses, half_width, mode="edge"), weights / weights.sum(), mode="valid"), dtype=np.float64)


def refine_rate(rate: float, loss_at: Callable[[float], float], *, start_loss: float) -> float | None:
    """The rate, lowered as long as a lower one trains further; half of it where twice the rate does not get half as far.

    The loss of a range test still profits from the low rates at its beginning: the rate at which it falls most steeply may not
    last.

    Arguments:
        rate: the rate to begin with.
        loss_at: the loss at the end of training at a constant rate, infinite where training diverges.
        start_loss: the loss before training.

    Returns:
        The rate; None where the loss falls at no rate.

    Example:
        60 steps of gradient descent on x^2 / 2 from x = 1, fastest at rate 1, and diverging from 2 on. The rate is lowered to 3
        and 1, and halved, since twice as much diverges:

        >>> refine_rate(9.0, lambda rate: 0.5 * (1 - rate) ** 120 if rate < 2 else math.inf, start_loss=0.5)
        0.5
    """
    end_loss = loss_at(rate)
    for _ in range(MAX_REDUCTIONS):
        lower_loss = loss_at(rate / RATE_DIVISOR)
        if np.isfinite(end_loss) and lower_loss >= end_loss:
            break
        rate, end_loss = rate / RATE_DIVISOR, lower_loss
    if not end_loss < start_loss:
        return None
    return rate if loss_at(rate * STABILITY_MARGIN) <= (start_loss + end_loss) / 2 else rate / STABILITY_MARGIN


def find_learning_rate(
    network: nn.Module, optimizer: Optimizer, inputs: Any, loss: Callable[[Any], Tensor], *, seed: int
) -> float | None:
    """The learning rate at which training on one batch goes fastest and lasts; None where the loss falls at no rate.

    It is for the group with the largest rate; the groups keep their proportions. Cost: 220 to 600 training steps on a copy.

    Arguments:
        network: the network; copies of it are trained.
        optimizer: its optimizer, of which copies are used.
        inputs: one batch, as the network takes it.
        loss: from the network's outputs to one number, a tensor with a gradient.
        seed: seeds the random generators for every training, so that dropout draws the same in each.

    Raises:
        UsageError: the loss is not one number that depends on the parameters.
    """
    group_shares = scale_rates(optimizer, 1.0)

    def run(rates: Sequence[float]) -> FloatArray:
        schedule = [[rate * share for share in group_shares] for rate in rates]
        return losses_on_schedule(network, optimizer, inputs, loss, schedule, seed)

    def loss_at(rate: float) -> float:
        losses = run([rate] * HOLD_STEPS)
        return float(losses[-FINAL_STEPS:].mean()) if len(losses) == HOLD_STEPS and np.isfinite(losses).all() else np.inf

    rates = np.geomspace(LOWEST_RATE, HIGHEST_RATE, RAMP_STEPS)
    losses = run(list(rates))
    steepest = steepest_stable(rates[: len(losses)], losses)
    return None if steepest is None else refine_rate(steepest, loss_at, start_loss=initial_loss(losses))


def copy_for_training(network: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
    """Copies of network and optimizer, which trains the copy, in training mode. Hooks are left out, but for our gradient clipping.

    Raises whatever copying the user's objects raises.
    """
    network_copy = model_copy(network)
    if network.training:
        for copied_module, module in zip(network_copy.modules(), network.modules(), strict=True):
            copied_module.training = module.training
    else:
        network_copy.train()
    memo: dict[int, Any] = {id(old): new for old, new in zip(network.parameters(), network_copy.parameters(), strict=True)}
    optimizer_copy = copy.deepcopy(optimizer, memo)
    for hook_class in (ClipNorm, ClipAdaptive):
        for hook in find_hooks(optimizer, hook_class):
            optimizer_copy.register_step_pre_hook(copy.deepcopy(hook, memo).before_step)
    return network_copy, optimizer_copy


def set_gradients(network: nn.Module, inputs: Any, loss: Callable[[Any], Tensor]) -> float:
    """The loss of a network on a batch; its gradients are set on the network's parameters, and on no other tensor.

    Raises UsageError where the loss is not one number that depends on the parameters.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    value = loss(call_with_inputs(network, inputs))
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError("loss= must make one number, a tensor with a gradient, out of what the network makes of inputs=")
    for parameter, gradient in zip(parameters, torch.autograd.grad(value.sum(), parameters, allow_unused=True), strict=True):
        parameter.grad = gradient
    return float(value.detach())


def losses_on_schedule(
    network: nn.Module,
    optimizer: Optimizer,
    inputs: Any,
    loss: Callable[[Any], Tensor],
    schedule: Sequence[Sequence[float]],
    seed: int,
) -> FloatArray:
    """The loss before each step of training a copy of the network on one batch, (steps,); it ends early where training diverges.

    `schedule` has the learning rate of every group for every step, (steps, groups). Cost: one training step for each.
    """
    losses: list[float] = []
    with without_side_effects(), torch.enable_grad():
        torch.manual_seed(seed)
        network_copy, optimizer_copy = copy_for_training(network, optimizer)
        for group_rates in schedule:
            losses.append(set_gradients(network_copy, inputs, loss))
            if not abs(losses[-1]) <= DIVERGENCE_FACTOR * abs(losses[0]):
                break
            for group, rate in zip(optimizer_copy.param_groups, group_rates, strict=True):
                group["lr"] = torch.full_like(group["lr"], rate) if isinstance(group["lr"], Tensor) else rate
            optimizer_copy.step()
    return np.asarray(losses, dtype=np.float64)
