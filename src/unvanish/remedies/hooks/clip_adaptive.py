"""Adaptive gradient clipping as an optimizer step hook: each unit's gradient is limited relative to its weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from unvanish.remedies.hooks.step_gradients import (
    call_with_gradients,
    gradient_scale,
    parameters_with_gradients,
)

SMALLEST_WEIGHT = 1e-3
"""The least norm that a unit's weights count as, so that a unit that starts at zero can move (Brock 2021, sec. 4.1)."""


@final
class ClipAdaptive:
    """Adaptive gradient clipping (Brock 2021, arXiv 2102.06171, eq. 3): |G_i| <= `factor` max(|W_i|, 1e-3) for every unit i.

    A unit is a row of a weight matrix or an output channel of a convolution; biases and other vectors are one unit. Sparse
    gradients are not clipped.

    Arguments:
        factor: largest norm of a unit's gradient, relative to the norm of its weights.
        excluded: parameters whose gradients are not clipped.
        transposed: parameters whose second axis is that of the outputs, as in a transposed convolution.

    Example:
        >>> import torch
        >>> parameter = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
        >>> optimizer = torch.optim.SGD([parameter], lr=1.0)
        >>> handle = optimizer.register_step_pre_hook(ClipAdaptive(0.1).before_step)
        >>> parameter.grad = torch.tensor([[50.0, 0.0]])
        >>> optimizer.step()  # |W| = 5, so the gradient is scaled down to 0.5
        >>> parameter.detach()
        tensor([[2.5000, 4.0000]])
    """

    def __init__(self, factor: float, excluded: Iterable[Tensor] = (), transposed: Iterable[Tensor] = ()) -> None:
        self.factor = factor
        self._excluded, self._transposed = tuple(excluded), tuple(transposed)

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The pre-hook: register it with `optimizer.register_step_pre_hook`."""
        return call_with_gradients(optimizer, args, kwargs, self._clip)

    def _clip(self, optimizer: Optimizer) -> None:
        excluded_ids, transposed_ids = set(map(id, self._excluded)), set(map(id, self._transposed))
        scale = gradient_scale(optimizer)
        for parameter, gradient in parameters_with_gradients(optimizer):
            if id(parameter) not in excluded_ids and gradient.shape == parameter.shape:
                clip_units_(
                    gradient, parameter.detach(), self.factor, axis=1 if id(parameter) in transposed_ids else 0, scale=scale
                )


def clip_adaptively_(parameters: Iterable[Tensor], factor: float) -> None:
    """Scales every unit's gradient down to `factor` times the norm of its weights (Brock et al. 2021, arXiv 2102.06171).

    Sparse gradients are left alone.

    Example:
        >>> parameter = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
        >>> parameter.grad = torch.tensor([[50.0, 0.0]])
        >>> clip_adaptively_([parameter], 0.1)
        >>> parameter.grad
        tensor([[0.5000, 0.0000]])
    """
    for parameter in parameters:
        if parameter.grad is not None and not parameter.grad.is_sparse:
            clip_units_(parameter.grad, parameter.detach(), factor)


def clip_units_(gradient: Tensor, weight: Tensor, factor: float, *, axis: int = 0, scale: Tensor | float = 1.0) -> Tensor:
    """Scales each unit's gradient in place down to `factor` times the norm of its weights where it is larger, and returns it.

    Arguments:
        gradient: the gradient, of the shape of `weight`.
        weight: the weight. A tensor of fewer than two axes is one unit.
        factor: largest norm of a unit's gradient, relative to the norm of its weights.
        axis: the axis of the units.
        scale: a factor by which the gradient is multiplied already, as by a gradient scaler.
    """
    gradient_lengths, weight_lengths = (_unit_lengths(tensor, axis) for tensor in (gradient, weight))
    max_length = factor * scale * weight_lengths.clamp(min=SMALLEST_WEIGHT)
    ratio = torch.where(gradient_lengths > max_length, max_length / gradient_lengths, 1.0)  # 1 where a gradient is zero
    return gradient.mul_(ratio.to(gradient.dtype))


def _unit_lengths(tensor: Tensor, axis: int) -> Tensor:
    """The Euclidean norm of every unit, in a shape that broadcasts with the tensor."""
    axes = [index for index in range(tensor.dim()) if index != axis] if tensor.dim() > 1 else None
    dtype = torch.promote_types(tensor.dtype, torch.float32)  # squares overflow float16 at 256
    return torch.linalg.vector_norm(tensor, dim=axes, keepdim=tensor.dim() > 1, dtype=dtype)
