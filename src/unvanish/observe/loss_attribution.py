"""Finds which optimizer a loss belongs to where there are several: the one whose parameters got a gradient from its backward call.

So a discriminator is judged by its own loss, and not by the generator's, whose gradients pass through it and are cleared. On every
step, sampled or not, the gradients of a few parameters of each optimizer are looked at, and neither read nor altered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.weak import WeakIdKeyDictionary

from unvanish.observe.statistics.tensor_statistics import Number

MAX_PROBES = 4  # parameters of one optimizer that are looked at
MAX_OPTIMIZERS = 16  # with more, such as one for each layer, all have one loss

GradientMark = tuple[int, int] | None
"""Identity and version of a gradient tensor; None where there is no gradient."""


@dataclass(slots=True)
class RecordedLoss:
    """What `backward` was called on, as a number, and the indices of the heads that were found in it."""

    value: Number
    heads: list[int] = field(default_factory=list[int])


@dataclass(slots=True)
class OptimizerLosses:
    """The losses that reached an optimizer's parameters since its last step, and the marks of a few of their gradients at the begin
    and end of the last backward call."""

    losses: list[RecordedLoss] = field(default_factory=list[RecordedLoss])
    before: tuple[GradientMark, ...] = ()
    after: tuple[GradientMark, ...] = ()


class LossAttribution:
    """The losses of each optimizer. Optimizers are held weakly.

    Example:
        >>> import torch
        >>> one, two = (torch.nn.Linear(1, 1) for _ in range(2))
        >>> first, second = (torch.optim.SGD(network.parameters(), lr=0.1) for network in (one, two))
        >>> attribution = LossAttribution()
        >>> attribution.register(first), attribution.register(second)
        (None, None)
        >>> attribution.backward_begins()
        >>> one(torch.ones(1, 1)).sum().backward()
        >>> attribution.backward_ended(RecordedLoss(0.5))
        >>> attribution.take(first), attribution.take(second)
        ([RecordedLoss(value=0.5, heads=[])], [])
    """

    def __init__(self) -> None:
        self._states: Any = WeakIdKeyDictionary()

    def register(self, optimizer: Optimizer) -> None:
        """Adds an optimizer that was constructed."""
        if optimizer not in self._states:
            self._states[optimizer] = OptimizerLosses()

    @property
    def is_needed(self) -> bool:
        """Whether there are several optimizers, and not too many."""
        return 1 < len(self._states) <= MAX_OPTIMIZERS

    def backward_begins(self) -> None:
        """Drops the losses of optimizers whose gradients were cleared or altered since the last backward call."""
        if not self.is_needed:
            return
        for optimizer, state in list(self._states.items()):
            state.before = _gradient_marks(optimizer)
            if state.before != state.after:
                state.losses.clear()

    def backward_ended(self, loss: RecordedLoss) -> None:
        """Adds the loss to the optimizers whose gradients have changed."""
        if not self.is_needed:
            return
        for optimizer, state in list(self._states.items()):
            state.after = _gradient_marks(optimizer)
            if state.after != state.before:
                state.losses.append(loss)

    def take(self, optimizer: Optimizer) -> list[RecordedLoss]:
        """The losses behind the step that an optimizer made; empty where they are not known."""
        state = self._states.get(optimizer)
        if state is None or not self.is_needed:
            return []
        losses, state.losses = state.losses, []
        return losses


def _gradient_marks(optimizer: Optimizer) -> tuple[GradientMark, ...]:
    """The marks of the first parameter of each group and of the last one."""
    groups = [group["params"] for group in optimizer.param_groups if group["params"]]
    probes = [group[0] for group in groups[: MAX_PROBES - 1]] + [group[-1] for group in groups[-1:]]
    return tuple(_gradient_mark(probe) for probe in probes)


def _gradient_mark(parameter: Tensor) -> GradientMark:
    gradient = parameter.grad
    return None if gradient is None else (id(gradient), gradient._version)
