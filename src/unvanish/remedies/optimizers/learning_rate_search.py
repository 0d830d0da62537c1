"""The learning-rate range test: which rate a network and its optimizer stand. It trains copies, and leaves no other mark."""

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
from unvanish.remedies.graph.model_copy import model_copy, without_trace
from unvanish.remedies.graph.shape_probe import fed
from unvanish.remedies.hooks.clip_adaptive import ClipAdaptive
from unvanish.remedies.hooks.clip_norm import ClipNorm
from unvanish.remedies.optimizers.settings import attached, proportional

Numbers = npt.NDArray[np.float64]

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100
"""The ramp (Smith 2017, arXiv 1506.01186, sec. 3.3, there linear): nothing moves at the one end, most breaks at the other."""

EXPLODED = 4.0
"""So many times the first loss is no training any more, and ends it."""

LEAPT, NOISY = 0.1, 4.0
"""So far above the first loss, as a part of it or in deviations of the noise, the rate is too large to be the one."""

FIRST = 5
"""Steps of the ramp that tell the loss of the beginning: the rate has doubled after them."""

MEDIAN_BEND = 0.6745 * math.sqrt(6.0)
"""The median of the second differences of Gaussian noise of deviation one."""

WIDTH = 3
"""Steps of the ramp, a quarter of a decade, over which the loss is smoothed: the deviation of a Gaussian."""

FALL = 1e-3
"""The part of the first loss that has to go before a rate is said to teach anything: plain deep networks take long to start."""

HOLD, END = 60, 10
"""A rate is held for so many steps, of which the last ones count: long enough for most networks that explode to have done so."""

LOWER, TRIES, MARGIN = 3.0, 6, 2.0
"""How much lower the next rate to be held is, how many times, and how far the rate has to stay away from what explodes."""


def steepest_stable(rates: Numbers, losses: Numbers) -> float | None:
    """The rate at which the loss falls most steeply over the logarithm of the rate; None where it does not fall.

    `rates` rise by equal factors, and `losses` were seen as they rose. Both end, for this purpose, where the loss is no number or
    leaps above the first. What is left is smoothed without delay. Smith 2017, arXiv 1506.01186, sec. 3.3.
    """
    level, noise = beginning(losses), _noise(losses[np.isfinite(losses)])
    highest = level + max(LEAPT * abs(level), NOISY * noise)
    smooth = _smoothed(losses[np.logical_and.accumulate(losses <= highest)])  # which no comparison with nan is
    if len(smooth) < 2 or not level - smooth.min() > max(FALL * abs(level), 0.5 * NOISY * noise):  # smoothed, noise is a third
        return None
    return float(rates[int(np.argmin(np.gradient(smooth)))])


def beginning(losses: Numbers) -> float:
    """The loss before anything has moved: the mean of the first steps of a ramp."""
    return float(losses[:FIRST].mean())


def _noise(losses: Numbers) -> float:
    """The deviation of losses from a smooth course, by what neighbours differ from their middle; 0 for fewer than three."""
    bends = np.abs(np.diff(losses, 2))
    return float(np.median(bends)) / MEDIAN_BEND if len(bends) else 0.0


def _smoothed(losses: Numbers) -> Numbers:
    reach = 4 * WIDTH
    weights: Numbers = np.exp(-0.5 * (np.arange(-reach, reach + 1) / WIDTH) ** 2)
    if not len(losses):
        return losses
    return np.asarray(np.convolve(np.pad(losses, reach, mode="edge"), weights / weights.sum(), mode="valid"), dtype=np.float64)


def settled(rate: float, held: Callable[[float], float], *, start: float) -> float | None:
    """The rate, or the first lower one at which training gets further; half of it where twice the rate does not get half as far.

    `held` gives the loss at the end of training at a constant rate, infinite where it explodes, and `start` is the loss before.
    The loss of a ramp still profits from the low rates at its beginning: what is steepest there may not last. None where no
    rate gets below the start.
    """
    end = held(rate)
    for _ in range(TRIES):
        lower = held(rate / LOWER)
        if np.isfinite(end) and lower >= end:
            break
        rate, end = rate / LOWER, lower
    if not end < start:
        return None
    return rate if held(rate * MARGIN) <= (start + end) / 2 else rate / MARGIN


def suitable_rate(
    network: nn.Module, optimizer: Optimizer, inputs: Any, loss: Callable[[Any], Tensor], *, seed: int
) -> float | None:
    """The largest of the groups' rates for which training on one batch goes fastest and lasts; None where no rate teaches.

    The rates of the groups keep their proportions. Cost: 220 to 600 training steps on a copy.
    """
    shares = proportional(optimizer, 1.0)

    def run(pace: Sequence[float]) -> Numbers:
        return losses_at(network, optimizer, inputs, loss, [[rate * share for share in shares] for rate in pace], seed)

    def held(rate: float) -> float:
        losses = run([rate] * HOLD)
        return float(losses[-END:].mean()) if len(losses) == HOLD and np.isfinite(losses).all() else np.inf

    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    losses = run(list(rates))
    steepest = steepest_stable(rates[: len(losses)], losses)
    return None if steepest is None else settled(steepest, held, start=beginning(losses))


def double_of(network: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
    """Copies of both that belong together, in training mode. Of all hooks the copies have those of our own that clip gradients.

    Raises whatever copying the user's objects raises.
    """
    double = model_copy(network)
    if network.training:
        for mine, theirs in zip(double.modules(), network.modules(), strict=True):
            mine.training = theirs.training
    else:
        double.train()
    memo: dict[int, Any] = {id(old): new for old, new in zip(network.parameters(), double.parameters(), strict=True)}
    twin = copy.deepcopy(optimizer, memo)
    for kind in (ClipNorm, ClipAdaptive):
        for hook in attached(optimizer, kind):
            twin.register_step_pre_hook(copy.deepcopy(hook, memo).before_step)
    return double, twin


def set_gradients(network: nn.Module, inputs: Any, loss: Callable[[Any], Tensor]) -> float:
    """The loss of a network on a batch, whose gradients its parameters get. Nothing else, such as what `loss` holds, gets any.

    Raises UsageError where the loss is not one number that depends on the parameters.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    value = loss(fed(network, inputs))
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError("loss= must make one number, a tensor with a gradient, out of what the network makes of inputs=")
    for parameter, gradient in zip(parameters, torch.autograd.grad(value.sum(), parameters, allow_unused=True), strict=True):
        parameter.grad = gradient
    return float(value.detach())


def losses_at(
    network: nn.Module,
    optimizer: Optimizer,
    inputs: Any,
    loss: Callable[[Any], Tensor],
    paces: Sequence[Sequence[float]],
    seed: int,
) -> Numbers:
    """The loss of a copy of the network before each step that a copy of the optimizer takes on one batch.

    `paces` has the rate of every group for every step. It ends early where the loss explodes. Cost: a training step for each.
    """
    found: list[float] = []
    with without_trace(), torch.enable_grad():
        torch.manual_seed(seed)
        double, twin = double_of(network, optimizer)
        for pace in paces:
            found.append(set_gradients(double, inputs, loss))
            if not abs(found[-1]) <= EXPLODED * abs(found[0]):
                break
            for group, rate in zip(twin.param_groups, pace, strict=True):
                group["lr"] = torch.full_like(group["lr"], rate) if isinstance(group["lr"], Tensor) else rate
            twin.step()
    return np.asarray(found, dtype=np.float64)
