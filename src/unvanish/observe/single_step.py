"""Takes and observes one step of a network that is not being trained, without changing it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.observe.observer import Observer
from unvanish.observe.run_facts import collect_facts
from unvanish.observe.settings import Settings
from unvanish.record.run import CHECKED
from unvanish.record.storage.journal import Journal


class NullOptimizer(torch.optim.Optimizer):
    """An optimizer that updates nothing: it tells the observer which parameters would be trained, and that the step is over."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {})

    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Does nothing."""


@contextmanager
def watching_one_step(journal: Journal, *, script: str) -> Generator[None]:
    """A context in which modules are observed from their construction on; the step is taken inside, by `take_step`."""
    observer = Observer(journal, collect_facts(script), settings=Settings(every=1))
    observer.attach()
    try:
        yield
    finally:
        observer.close(CHECKED)


def take_step(model: nn.Module, compute_loss: Callable[[], Tensor]) -> None:
    """Runs the forward pass `compute_loss`, its backward pass, and an optimizer step that updates no weight.

    Gradients that the parameters held are put back afterwards; buffers and random state are the caller's to keep. A loss without a
    gradient has no backward pass.

    Example:
        >>> journal, network = Journal.create(None), nn.Linear(2, 1)
        >>> with watching_one_step(journal, script="net.py"):
        ...     take_step(network, lambda: network(torch.ones(3, 2)).mean())
        >>> journal.read().step_count, network.weight.grad
        (1, None)
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    saved_gradients = [parameter.grad for parameter in parameters]
    optimizer = NullOptimizer(parameters)
    optimizer.zero_grad()
    try:
        loss = compute_loss()
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
    finally:
        for parameter, gradient in zip(parameters, saved_gradients, strict=True):
            parameter.grad = gradient
