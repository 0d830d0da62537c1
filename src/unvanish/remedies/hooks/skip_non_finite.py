"""Optimizer step hooks that skip a step whose gradients are not all finite."""

from __future__ import annotations

from typing import Any, final

import torch
from torch.optim import Optimizer

from unvanish.remedies.hooks.step_gradients import call_with_gradients, parameters_with_gradients
from unvanish.remedies.hooks.withheld_gradients import WithheldGradients


@final
class SkipNonFiniteSteps:
    """Hooks before and after an optimizer's step that skip it where any gradient is not finite.

    Parameters and the optimizer's state then stay as they are, and all gradients become zero. `skipped` counts such steps. One
    number is read back from the device each step.

    Example:
        >>> import torch
        >>> parameter = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = torch.optim.SGD([parameter], lr=0.5)
        >>> hooks = SkipNonFiniteSteps()
        >>> handles = optimizer.register_step_pre_hook(hooks.before_step), optimizer.register_step_post_hook(hooks.after_step)
        >>> for gradient in (float("nan"), 1.0):
        ...     parameter.grad = torch.tensor([gradient])
        ...     optimizer.step()
        >>> parameter.item(), hooks.skipped
        (0.5, 1)
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._withheld = WithheldGradients()

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The pre-hook: register it with `optimizer.register_step_pre_hook`."""
        return call_with_gradients(optimizer, args, kwargs, self._check)

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The post-hook: register it with `optimizer.register_step_post_hook`."""
        del optimizer, args, kwargs
        for gradient in self._withheld.restore():
            gradient.zero_()

    def _check(self, optimizer: Optimizer) -> None:
        pairs = list(parameters_with_gradients(optimizer))
        if not pairs:
            return
        device = pairs[0][1].device
        if bool(torch.stack([torch.isfinite(gradient).all().to(device) for _, gradient in pairs]).all()):
            return
        self.skipped += 1
        self._withheld.withhold(optimizer)
