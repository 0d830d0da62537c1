"""Trains the network of a task with or without remedies from one seed, and measures its score and the time of a step."""

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
from benchmarks.remedies.data import Batches, Dataset
from unvanish.errors import NotApplicable

Loss = Callable[[Tensor, Tensor], Tensor]

TIMED_PAIRS, WARM_UP_PAIRS = 30, 5  # steps of both networks, in turn, after some that are not counted


@dataclass(frozen=True, slots=True)
class Task:
    """A network, its data and its training, without remedies. `network` and `data` are short descriptions.

    `build` is called with torch's generator seeded. `score` is the metric of a trained network, and `metric` its name. `within`
    gives the context manager around forward passes.
    """

    network: str
    data: str
    build: Callable[[], nn.Module]
    optimizer: Callable[[Iterator[nn.Parameter]], Optimizer]
    batches: Batches
    loss: Loss
    score: Callable[[nn.Module], float]
    metric: str
    higher_is_better: bool
    steps: int
    clip: float | None = None
    within: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True, slots=True)
class TrainingScore:
    """The score and size of one trained network; `refusal` is the message of a remedy that did not act."""

    value: float
    parameters: int
    refusal: str = ""


def train(task: Task, remedies: tuple[str, ...], seed: int) -> TrainingScore:
    """The score of a network that is built, treated with the remedies, and trained."""
    try:
        network, optimizer = build_treated(task, remedies, seed)
    except NotApplicable as refusal:
        return TrainingScore(math.nan, 0, str(refusal))
    for x, y in task.batches(seed):
        train_step(task, network, optimizer, x, y)
    network.eval()
    with torch.no_grad():
        value = task.score(network)
    return TrainingScore(value, sum(p.numel() for p in network.parameters()))


def step_time_ratio(task: Task, remedies: tuple[str, ...], seed: int) -> float:
    """The time of a treated step over that of an untreated one, taken in turn: the median of the ratios."""
    networks = [build_treated(task, names, seed) for names in ((), remedies)]
    ratios: list[float] = []
    for index, (x, y) in zip(range(TIMED_PAIRS + WARM_UP_PAIRS), task.batches(seed), strict=False):
        times = [_time_step(task, network, optimizer, x, y) for network, optimizer in networks]
        if index >= WARM_UP_PAIRS:
            ratios.append(times[1] / times[0])
    return median(ratios)


def build_treated(task: Task, remedies: tuple[str, ...], seed: int) -> tuple[nn.Module, Optimizer]:
    """The network and its optimizer, with the remedies applied on the first batch. Raises NotApplicable where they cannot be."""
    torch.manual_seed(seed)
    network = task.build()
    optimizer = task.optimizer(network.parameters())
    if remedies:
        x, y = next(task.batches(seed))
        with task.within():
            unvanish.apply(network, *remedies, optimizer=optimizer, inputs=x, loss=lambda out: task.loss(out, y), seed=seed)
    return network, optimizer


def train_step(task: Task, network: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> None:
    """One training step."""
    optimizer.zero_grad()
    with task.within():
        loss = task.loss(network(x), y)
    loss.backward()
    if task.clip is not None:
        nn.utils.clip_grad_norm_(network.parameters(), task.clip)
    optimizer.step()


def accuracy(dataset: Callable[[], Dataset]) -> Callable[[nn.Module], float]:
    """A function that returns the accuracy on held-out rows; rows with a score that is not finite count as wrong."""

    def score(network: nn.Module) -> float:
        data = dataset()
        scores = network(data.x_test).float()
        is_correct = (scores.argmax(-1) == data.y_test) & scores.isfinite().all(-1)
        return is_correct.float().mean().item()

    return score


def _time_step(task: Task, network: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> float:
    start = time.thread_time()
    train_step(task, network, optimizer, x, y)
    return time.thread_time() - start
