"""Gradient clipping by the global norm as an optimizer step hook."""

from __future__ import annotations

from typing import Any, final

import torch
from torch.optim import Optimizer

from unvanish.remedies.hooks.step_gradients import (
    accumulation_dtype,
    call_with_gradients,
    gradient_scale,
    parameters_with_gradients,
)

EPSILON = 1e-6
"""Added to the norm before division, as in `torch.nn.utils.clip_grad_norm_`."""


@final
class ClipNorm:
    """Scales an optimizer's gradients down to a global Euclidean norm of `max_norm` (Pascanu 2013, arXiv 1211.5063).

    Squares are summed in float32 or wider. It does not wait for the device. Gradients that a closure computes are clipped too.

    Arguments:
        max_norm: the largest norm of all gradients of the optimizer together.

    Example:
        >>> import torch
        >>> parameter = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = torch.optim.SGD([parameter], lr=1.0)
        >>> handle = optimizer.register_step_pre_hook(ClipNorm(1.0).before_step)
        >>> parameter.grad = torch.tensor([30.0, 40.0])
        >>> optimizer.step()
        >>> parameter.detach()
        tensor([-0.6000, -0.8000])
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The pre-hook: register it with `optimizer.register_step_pre_hook`."""
        return call_with_gradients(optimizer, args, kwargs, self._clip)

    def _clip(self, optimizer: Optimizer) -> None:
        clipped = [gradient for _, gradient in parameters_with_gradients(optimizer)]
        if not clipped:
            return
        norms = [torch.linalg.vector_norm(g, dtype=accumulation_dtype(g)).to(clipped[0].device, torch.float32) for g in clipped]
        total = torch.linalg.vector_norm(torch.stack(norms)) / gradient_scale(optimizer)
        factor = (self.max_norm / (total + EPSILON)).clamp(max=1.0)
        for gradient in clipped:
            gradient.mul_(factor.to(gradient.device))
