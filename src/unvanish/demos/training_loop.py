"""The loop that every demo trains with: steps, a score now and then, and an end as soon as the loss is no number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from unvanish.demos.demo import Report
from unvanish.demos.digits import Digits
from unvanish.record.demo_result import Course, Ending, Point


@dataclass(frozen=True, slots=True)
class Plan:
    """How many steps are made, and after how many the test data are scored; the last step is always scored."""

    steps: int
    score_every: int


def follow(plan: Plan, step: Callable[[], float], score: Callable[[], float], *, report: Report) -> Course:
    """The course of a training. `step` makes one step and returns its loss, `score` looks at the test data.

    It ends early where the loss is no number, where `report` asks for it, and says which.
    """
    points: list[Point] = []
    for made in range(1, plan.steps + 1):
        loss = step()
        if not math.isfinite(loss):
            points.append(Point(made, loss, math.nan))
            return Course(Ending.DIVERGED, plan.steps, tuple(points))
        go_on = report(made, plan.steps, loss)
        if made % plan.score_every == 0 or made == plan.steps or not go_on:
            points.append(Point(made, loss, score()))
        if not go_on and made < plan.steps:
            return Course(Ending.STOPPED, plan.steps, tuple(points))
    return Course(Ending.FINISHED, plan.steps, tuple(points))


def descend(optimizer: Optimizer, loss: Tensor, *, schedule: LRScheduler | None = None, clip: float | None = None) -> float:
    """One step down the gradient of a loss, which is returned as a number. `clip` bounds the gradient's length over all weights."""
    optimizer.zero_grad()
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    optimizer.step()
    if schedule is not None:
        schedule.step()
    return float(loss.item())


def batches(count: int, size: int) -> Iterator[Tensor]:
    """Indices of batches without end: each pass over the data in a new order, a last batch that is not full included.

    A last batch of one is left out where the others have more: batch normalisation would refuse it.
    """
    while True:
        for chosen in torch.randperm(count).split(size):
            if len(chosen) > 1 or size == 1:
                yield chosen


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images named rightly, in evaluation mode; the network is left in training mode."""
    network.eval()
    with torch.no_grad():
        outputs = network(images)
    network.train()
    return float((outputs.argmax(1) == labels).float().mean())


def learn_digits(
    network: nn.Module,
    data: Digits,
    optimizer: Optimizer,
    *,
    plan: Plan,
    batch: int,
    report: Report,
    schedule: LRScheduler | None = None,
) -> Course:
    """The course of a classifier of digits, trained with cross entropy and scored by its test accuracy."""
    order = batches(len(data.labels), batch)

    def step() -> float:
        chosen = next(order)
        return descend(optimizer, nn.functional.cross_entropy(network(data.images[chosen]), data.labels[chosen]), schedule=schedule)

    def score() -> float:
        return accuracy(network, data.test_images, data.test_labels)

    return follow(plan, step, score, report=report)


def steps_of(epochs: float, *, count: int, batch: int) -> int:
    """The steps that so many passes over the data take, at least one."""
    return max(1, round(epochs * math.ceil(count / batch)))
