"""What a step does to the parameters: norms of weight, gradient and the update really made. It reads, and never writes to them.

The gradient is read just before the optimizer uses it, which works alike for accumulated, clipped, unscaled and sharded
gradients; the update is the difference of the weights before and after.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from unvanish.observe import statistics
from unvanish.observe.atlas import Atlas
from unvanish.observe.capture import Capture, Movement

# Of a larger parameter weight and update are measured on evenly spaced rows: 2**16 elements give the RMS to about 0.5 %.
# The gradient is always read whole: of an embedding's, most rows may be zero.
SNAPSHOT_ELEMENTS = 2**16


class UpdateWatch:
    """The parameters of one step, between the moment before the update and the moment after."""

    def __init__(self, capture: Capture, atlas: Atlas) -> None:
        self._capture = capture
        self._atlas = atlas
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._without_gradient: set[int] = set()

    def before(self, parameters: Iterable[Tensor]) -> None:
        """Reads weights and gradients, and keeps a copy of the weights."""
        for parameter in parameters:
            if not parameter.requires_grad or parameter.is_meta or parameter.numel() == 0:
                continue
            index = self._atlas.parameter(parameter)
            weight = excerpt(parameter.detach()).clone()
            move = Movement(parameter.numel(), weight.numel(), gradient=gradient_norm(parameter), sample=rows_of(weight))
            move.weight = statistics.norm(weight)
            self._capture.movements[index] = move
            self._before[index] = (parameter, weight)
            if parameter.grad is None:
                self._without_gradient.add(index)

    def after(self) -> None:
        """Measures what became of the weights. Gradients that a closure made within the step are read now."""
        for index, (parameter, earlier) in self._before.items():
            move = self._capture.movements[index]
            move.update = statistics.norm(earlier.sub_(excerpt(parameter.detach())))
            if parameter.grad is not None and index in self._without_gradient:
                move.gradient = gradient_norm(parameter)
        self._before.clear()


def gradient_norm(parameter: Tensor) -> statistics.Number:
    """The norm of the gradient that a parameter holds; NaN where it holds none, which is not the same as a zero one."""
    return math.nan if parameter.grad is None else statistics.norm(parameter.grad.detach())


def excerpt(weight: Tensor) -> Tensor:
    """Evenly spaced rows of a weight, at most SNAPSHOT_ELEMENTS elements where its rows allow it; a view."""
    if weight.dim() == 0 or weight.numel() <= SNAPSHOT_ELEMENTS:
        return weight
    return weight[:: -(-weight.numel() // SNAPSHOT_ELEMENTS)]


def rows_of(weight: Tensor) -> Tensor | None:
    """A sample of a weight matrix, to tell later whether its rows are copies of each other; None for vectors."""
    if weight.dim() < 2 or weight.shape[0] < 2 or not weight.is_floating_point():
        return None
    return statistics.subsample(weight)


def fingerprint(parameters: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """A few elements of each parameter, to tell later whether anybody changed it."""
    return [(p, p.detach().reshape(-1)[:64].clone()) for p in parameters]


def has_changed(prints: Iterable[tuple[Tensor, Tensor]]) -> bool:
    """Whether any parameter differs from its fingerprint. Waits for the device: asked only while no optimizer is known."""
    return any(not torch.equal(p.detach().reshape(-1)[:64], earlier) for p, earlier in prints)
