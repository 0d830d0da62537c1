"""One training of one experiment: with remedies or without, from one seed, and what came of it. It compares nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import unvanish
from benchmarks.remedies.data import Batches, Table
from unvanish.errors import NotApplicable

Loss = Callable[[Tensor, Tensor], Tensor]

COST_PAIRS, WARM = 30, 5  # steps of either network, in turn, behind some that are not counted


@dataclass(frozen=True, slots=True)
class Task:
    """A network, its data and its training, before any remedy. `network` and `data` say in a few words what they are.

    `build` is called with torch's generator seeded. `judge` is the metric of a trained network; higher is better where it says so.
    """

    network: str
    data: str
    build: Callable[[], nn.Module]
    optimizer: Callable[[Iterator[nn.Parameter]], Optimizer]
    batches: Batches
    loss: Loss
    judge: Callable[[nn.Module], float]
    metric: str
    higher_is_better: bool
    steps: int
    clip: float | None = None
    within: Callable[[], AbstractContextManager[object]] = nullcontext
    """What the program runs its forward passes in."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of one training; `refusal` says why a remedy did not act."""

    value: float
    parameters: int
    refusal: str = ""


def train(task: Task, remedies: tuple[str, ...], seed: int) -> Trained:
    """Builds, treats, trains and judges."""
    try:
        network, optimizer = treated(task, remedies, seed)
    except NotApplicable as refusal:
        return Trained(math.nan, 0, str(refusal))
    for x, y in task.batches(seed):
        step(task, network, optimizer, x, y)
    network.eval()
    with torch.no_grad():
        value = task.judge(network)
    return Trained(value, sum(p.numel() for p in network.parameters()))


def step_time_ratio(task: Task, remedies: tuple[str, ...], seed: int) -> float:
    """The time of a treated step over that of an untreated one, taken in turn: the median of the ratios."""
    pair = [treated(task, names, seed) for names in ((), remedies)]
    ratios: list[float] = []
    for at, (x, y) in zip(range(COST_PAIRS + WARM), task.batches(seed), strict=False):
        times = [_timed(task, network, optimizer, x, y) for network, optimizer in pair]
        if at >= WARM:
            ratios.append(times[1] / times[0])
    return median(ratios)


def treated(task: Task, remedies: tuple[str, ...], seed: int) -> tuple[nn.Module, Optimizer]:
    """The network and its optimizer, with the remedies applied on the first batch. Raises NotApplicable where they cannot be."""
    torch.manual_seed(seed)
    network = task.build()
    optimizer = task.optimizer(network.parameters())
    if remedies:
        x, y = next(task.batches(seed))
        with task.within():
            unvanish.apply(network, *remedies, optimizer=optimizer, inputs=x, loss=lambda out: task.loss(out, y), seed=seed)
    return network, optimizer


def step(task: Task, network: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> None:
    """One training step."""
    optimizer.zero_grad()
    with task.within():
        loss = task.loss(network(x), y)
    loss.backward()
    if task.clip is not None:
        nn.utils.clip_grad_norm_(network.parameters(), task.clip)
    optimizer.step()


def accuracy(table: Callable[[], Table]) -> Callable[[nn.Module], float]:
    """The share of held-out rows whose class is found; a score that is no number finds none."""

    def judge(network: nn.Module) -> float:
        data = table()
        scores = network(data.x_test).float()
        right = (scores.argmax(-1) == data.y_test) & scores.isfinite().all(-1)
        return right.float().mean().item()

    return judge


def _timed(task: Task, network: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> float:
    began = time.thread_time()
    step(task, network, optimizer, x, y)
    return time.thread_time() - began
