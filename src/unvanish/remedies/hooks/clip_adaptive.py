"""A step hook that keeps the gradient of every unit small against the unit's own weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from unvanish.remedies.hooks.step_gradients import gradients, scale_of, when_there, wide

SMALLEST_WEIGHT = 1e-3
"""A unit's weights count as at least so long, so that one that starts at zero can move (Brock 2021, sec. 4.1)."""


@final
class ClipAdaptive:
    """Adaptive gradient clipping (Brock 2021, arXiv 2102.06171, eq. 3): |G_i| <= `factor` max(|W_i|, 1e-3) for every unit i.

    A unit is a row of a weight matrix or an output channel of a convolution; biases and other vectors are one unit. Parameters
    in `spared` are left alone, and so are sparse gradients; in `transposed` the second axis has the outputs.
    """

    def __init__(self, factor: float, spared: Iterable[Tensor] = (), transposed: Iterable[Tensor] = ()) -> None:
        self.factor = factor
        self._spared, self._transposed = tuple(spared), tuple(transposed)

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The hook before a step."""
        return when_there(optimizer, args, kwargs, self._clip)

    def _clip(self, optimizer: Optimizer) -> None:
        spared, transposed = set(map(id, self._spared)), set(map(id, self._transposed))
        scale = scale_of(optimizer)
        for parameter, gradient in gradients(optimizer):
            if id(parameter) not in spared and gradient.shape == parameter.shape:
                clip_units_(gradient, parameter.detach(), self.factor, axis=1 if id(parameter) in transposed else 0, scale=scale)


def clip_units_(gradient: Tensor, weight: Tensor, factor: float, *, axis: int = 0, scale: Tensor | float = 1.0) -> Tensor:
    """The same gradient, each unit of it, along `axis`, scaled down to `factor` times the length of its weights where longer.

    `scale` is a factor that the gradient has on it.
    """
    length, size = (_lengths(tensor, axis) for tensor in (gradient, weight))
    longest = factor * scale * size.clamp(min=SMALLEST_WEIGHT)
    ratio = torch.where(length > longest, longest / length, 1.0)  # 1 where a gradient is zero
    return gradient.mul_(ratio.to(gradient.dtype))


def _lengths(tensor: Tensor, axis: int) -> Tensor:
    """The Euclidean length of every unit, shaped to multiply with the tensor."""
    axes = [at for at in range(tensor.dim()) if at != axis] if tensor.dim() > 1 else None
    return torch.linalg.vector_norm(tensor, dim=axes, keepdim=tensor.dim() > 1, dtype=wide(tensor))
