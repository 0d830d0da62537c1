"""A step hook that keeps all gradients of an optimizer together below a length."""

from __future__ import annotations

from typing import Any, final

import torch
from torch.optim import Optimizer

from unvanish.remedies.hooks.step_gradients import gradients, scale_of, when_there, wide

TINY = 1e-6
"""Added below the fraction; torch's own clipping has the same."""


@final
class ClipNorm:
    """Scales the gradients down to a total Euclidean length of `longest` where they are longer (Pascanu 2013, arXiv 1211.5063).

    Squares are summed in float32 or wider. It does not wait for the device.
    """

    def __init__(self, longest: float) -> None:
        self.longest = longest

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The hook before a step."""
        return when_there(optimizer, args, kwargs, self._clip)

    def _clip(self, optimizer: Optimizer) -> None:
        found = [gradient for _, gradient in gradients(optimizer)]
        if not found:
            return
        lengths = [torch.linalg.vector_norm(g, dtype=wide(g)).to(found[0].device, torch.float32) for g in found]
        total = torch.linalg.vector_norm(torch.stack(lengths)) / scale_of(optimizer)
        factor = (self.longest / (total + TINY)).clamp(max=1.0)
        for gradient in found:
            gradient.mul_(factor.to(gradient.device))
