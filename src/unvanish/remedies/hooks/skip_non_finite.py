"""Step hooks under which an optimizer passes over gradients that are not finite. They repair no gradient."""

from __future__ import annotations

from typing import Any, final

import torch
from torch.optim import Optimizer

from unvanish.remedies.hooks.step_gradients import gradients, when_there
from unvanish.remedies.hooks.withheld import Withheld


@final
class FiniteSteps:
    """Hooks before and after an optimizer's step: where some gradient is not finite, nothing moves and no moment takes it in.

    What is behind such a step is a gradient of zero. One number is read back from the device each step.
    """

    def __init__(self) -> None:
        self.passed = 0
        self._withheld = Withheld()

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The hook before a step."""
        return when_there(optimizer, args, kwargs, self._look)

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The hook after a step."""
        del optimizer, args, kwargs
        for gradient in self._withheld.give_back():
            gradient.zero_()

    def _look(self, optimizer: Optimizer) -> None:
        found = list(gradients(optimizer))
        if not found:
            return
        device = found[0][1].device
        if bool(torch.stack([torch.isfinite(gradient).all().to(device) for _, gradient in found]).all()):
            return
        self.passed += 1
        self._withheld.take(optimizer)
