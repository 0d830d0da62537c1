"""Gradients that an optimizer does not see while it steps: without them it moves nothing, and keeps its state."""

from __future__ import annotations

from typing import final

from torch import Tensor
from torch.optim import Optimizer


@final
class Withheld:
    """Owner of the gradients between a step's two hooks."""

    def __init__(self) -> None:
        self._held: list[tuple[Tensor, Tensor]] = []

    def take(self, optimizer: Optimizer) -> None:
        """Takes the gradients of all parameters of an optimizer away."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._held.append((parameter, parameter.grad))
                    parameter.grad = None

    def give_back(self) -> list[Tensor]:
        """Puts what was taken back where it was; the gradients, for whoever alters them."""
        for parameter, gradient in self._held:
            parameter.grad = gradient
        given = [gradient for _, gradient in self._held]
        self._held.clear()
        return given
