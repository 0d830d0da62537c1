"""Withholds gradients from an optimizer during a step, so that it changes neither parameters nor its state."""

from __future__ import annotations

from typing import final

from torch import Tensor
from torch.optim import Optimizer


@final
class WithheldGradients:
    """Keeps the gradients between the pre-hook and the post-hook of a step."""

    def __init__(self) -> None:
        self._withheld: list[tuple[Tensor, Tensor]] = []

    def withhold(self, optimizer: Optimizer) -> None:
        """Sets the gradients of all parameters of an optimizer to None, and keeps them."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._withheld.append((parameter, parameter.grad))
                    parameter.grad = None

    def restore(self) -> list[Tensor]:
        """Sets the gradients that were withheld again, and returns them."""
        for parameter, gradient in self._withheld:
            parameter.grad = gradient
        gradients = [gradient for _, gradient in self._withheld]
        self._withheld.clear()
        return gradients
