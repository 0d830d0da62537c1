"""Step hooks under which an optimizer passes over gradients that are not finite. They repair no gradient."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from unvanish.remedies.modules.step_gradients import gradients, when_there


@final
class FiniteSteps:
    """Hooks before and after an optimizer's step: where some gradient is not finite, nothing moves and no moment takes it in.

    What is behind such a step is a gradient of zero. One number is read back from the device each step.
    """

    def __init__(self) -> None:
        self.passed = 0
        self._dropped: list[tuple[Tensor, Tensor]] = []

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The hook before a step."""
        return when_there(optimizer, args, kwargs, self._look)

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The hook after a step."""
        del optimizer, args, kwargs
        for parameter, gradient in self._dropped:
            parameter.grad = gradient.zero_()
        self._dropped.clear()

    def _look(self, optimizer: Optimizer) -> None:
        found = list(gradients(optimizer))
        if not found:
            return
        device = found[0][1].device
        if bool(torch.stack([torch.isfinite(gradient).all().to(device) for _, gradient in found]).all()):
            return
        self.passed += 1
        for parameter, _ in found:
            if parameter.grad is not None:
                self._dropped.append((parameter, parameter.grad))
                parameter.grad = None
