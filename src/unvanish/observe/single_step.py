"""One step of a network that is not being trained: its readings, and then everything as if it had not happened."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.observe.observer import Observer
from unvanish.observe.run_facts import facts_of
from unvanish.observe.settings import Settings
from unvanish.record.journal import Journal
from unvanish.record.run import CHECKED


class NullOptimizer(torch.optim.Optimizer):
    """An optimizer that moves nothing: it only says which parameters would be trained, and that the step is over."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {})

    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Nothing."""


@contextmanager
def watching_one_step(journal: Journal, *, script: str) -> Generator[None]:
    """Whatever is built and run inside is watched, modules from their birth on; the step inside is `take_step`."""
    observer = Observer(journal, facts_of(script), settings=Settings(every=1))
    observer.attach()
    try:
        yield
    finally:
        observer.close(CHECKED)


def take_step(model: nn.Module, value: Callable[[], Tensor]) -> None:
    """One forward and backward pass of what `value` computes, and the end of a step in which no weight moves.

    Gradients that the parameters held are theirs again afterwards; buffers and random state are the caller's to keep. A value that
    carries no gradient has no backward pass; to say why is the trace's business.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    held = [parameter.grad for parameter in parameters]
    optimizer = NullOptimizer(parameters)
    optimizer.zero_grad()
    try:
        loss = value()
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
    finally:
        for parameter, gradient in zip(parameters, held, strict=True):
            parameter.grad = gradient
