"""The training loop of the demos: steps, a test score at intervals, and an early end where the loss is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from unvanish.demos.demo import StepCallback
from unvanish.demos.digits import DigitsSplit
from unvanish.record.demo_result import HistoryPoint, TrainingEnding, TrainingResult


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How many steps are made, and at which interval the test data are scored; the last step is always scored."""

    steps: int
    score_every: int


def run_training_loop(
    plan: TrainingPlan, train_step: Callable[[], float], score: Callable[[], float], *, on_step: StepCallback
) -> TrainingResult:
    """The result of a training. `train_step` makes one step and returns its loss, `score` evaluates the test data.

    It ends early where the loss is not finite or `on_step` returns False.
    """
    history: list[HistoryPoint] = []
    for step in range(1, plan.steps + 1):
        loss = train_step()
        if not math.isfinite(loss):
            history.append(HistoryPoint(step, loss, math.nan))
            return TrainingResult(TrainingEnding.DIVERGED, plan.steps, tuple(history))
        continues = on_step(step, plan.steps, loss)
        if step % plan.score_every == 0 or step == plan.steps or not continues:
            history.append(HistoryPoint(step, loss, score()))
        if not continues and step < plan.steps:
            return TrainingResult(TrainingEnding.STOPPED, plan.steps, tuple(history))
    return TrainingResult(TrainingEnding.FINISHED, plan.steps, tuple(history))


def step_optimizer(
    optimizer: Optimizer, loss: Tensor, *, schedule: LRScheduler | None = None, max_gradient_norm: float | None = None
) -> float:
    """The loss as a number, after one step of the optimizer; `max_gradient_norm` bounds the gradient's norm over all weights."""
    optimizer.zero_grad()
    loss.backward()
    if max_gradient_norm is not None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], max_gradient_norm)
    optimizer.step()
    if schedule is not None:
        schedule.step()
    return float(loss.item())


def shuffled_batches(count: int, batch_size: int) -> Iterator[Tensor]:
    """Indices of batches without end: each pass over the data in a new order, a last batch that is not full included.

    A last batch of one example is left out unless `batch_size` is 1, since batch normalisation would refuse it.
    """
    while True:
        for indices in torch.randperm(count).split(batch_size):
            if len(indices) > 1 or batch_size == 1:
                yield indices


def measure_accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images classified correctly, in evaluation mode; the network is left in training mode."""
    network.eval()
    with torch.no_grad():
        scores = network(images)  # (count, classes)
    network.train()
    return float((scores.argmax(1) == labels).float().mean())


def train_on_digits(
    network: nn.Module,
    data: DigitsSplit,
    optimizer: Optimizer,
    *,
    plan: TrainingPlan,
    batch_size: int,
    on_step: StepCallback,
    schedule: LRScheduler | None = None,
) -> TrainingResult:
    """The result of a classifier of digits, trained with cross entropy and scored by its test accuracy."""
    batches = shuffled_batches(len(data.labels), batch_size)

    def train_step() -> float:
        indices = next(batches)
        loss = nn.functional.cross_entropy(network(data.images[indices]), data.labels[indices])
        return step_optimizer(optimizer, loss, schedule=schedule)

    def score() -> float:
        return measure_accuracy(network, data.test_images, data.test_labels)

    return run_training_loop(plan, train_step, score, on_step=on_step)


def count_steps(epochs: float, *, examples: int, batch_size: int) -> int:
    """The number of steps in that many passes over the data, at least one."""
    return max(1, round(epochs * math.ceil(examples / batch_size)))
