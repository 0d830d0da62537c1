"""What a step does to the parameters: norms of weight, gradient and the update really made. It reads, and never writes to them.

The gradient is read just before the optimizer uses it, which works alike for accumulated, clipped, unscaled and sharded
gradients; the update is the difference of the weights before and after.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from unvanish.observe.statistics import tensor_statistics
from unvanish.observe.statistics.site_statistics import Capture, ParameterUpdate
from unvanish.observe.structure.model_index import ModelIndex

# Of a larger parameter weight and update are measured on evenly spaced rows: 2**16 elements give the RMS to about 0.5 %.
# The gradient is always read whole: of an embedding's, most rows may be zero.
SNAPSHOT_ELEMENTS = 2**16
# A direction is kept from sample to sample: of 2**13 elements the cosine of unrelated ones is within 0.02 of zero.
DIRECTION_ELEMENTS = 2**13
PRINT_ELEMENTS = 64


class GradientMemory:
    """The direction of each parameter's gradient at the sample before, to tell whether gradients agree from batch to batch."""

    def __init__(self) -> None:
        self._directions: dict[int, tuple[int, Tensor]] = {}
        self._agreements: dict[int, tensor_statistics.Number] = {}

    def agreement(self, index: int, gradient: Tensor, *, step: int) -> tensor_statistics.Number:
        """Cosine between a gradient and the one of the sample before, over evenly spaced rows of a large one; NaN where either is
        zero, or sparse: then it is of other rows each time. Asked twice at one step, it says the same twice."""
        if index in self._directions and self._directions[index][0] == step:
            return self._agreements[index]
        self._agreements[index] = agreement = self._compared(index, gradient, step)
        return agreement

    def _compared(self, index: int, gradient: Tensor, step: int) -> tensor_statistics.Number:
        if gradient.is_sparse:
            return math.nan
        sample = excerpt(tensor_statistics.dense(gradient), DIRECTION_ELEMENTS)
        direction = torch.nn.functional.normalize(_by_largest(sample), dim=0)
        _, before = self._directions.get(index, (0, None))
        self._directions[index] = step, direction
        if before is None or before.shape != direction.shape or before.device != direction.device:
            return math.nan
        cosine = torch.dot(before, direction)
        known = (before.abs().amax() > 0) & (direction.abs().amax() > 0)
        return tensor_statistics.number(torch.where(known, cosine, torch.full_like(cosine, math.nan)))


class StaleWatch:
    """Whether gradients had been cleared when backward began: the least that each parameter still held, over the backward calls
    since its own last update."""

    def __init__(self, atlas: ModelIndex) -> None:
        self._atlas = atlas
        self._held: dict[int, tensor_statistics.Number] = {}

    def backward_begins(self) -> None:
        """Looks at a few elements of every gradient that is there. Waits for no device."""
        for parameter in self._atlas.living_parameters():
            index = self._atlas.parameter(parameter)
            if parameter.grad is None or parameter.grad.is_sparse:
                self._held[index] = 0.0
                continue
            size = tensor_statistics.norm(parameter.grad.detach().reshape(-1)[:PRINT_ELEMENTS])
            before = self._held.get(index)
            self._held[index] = size if before is None else _least(before, size)

    def held(self, index: int) -> tensor_statistics.Number:
        """The norm of what a parameter still held, of its first elements."""
        return self._held.get(index, math.nan)

    def updated(self, index: int) -> None:
        """The parameter has been updated: from here on its gradient belongs to the step before."""
        self._held.pop(index, None)


def _least(one: tensor_statistics.Number, other: tensor_statistics.Number) -> tensor_statistics.Number:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return torch.minimum(torch.as_tensor(one), torch.as_tensor(other))
    return min(one, other)


class UpdateWatch:
    """The parameters of one step, between the moment before the update and the moment after."""

    def __init__(self, capture: Capture, atlas: ModelIndex, memory: GradientMemory, stale: StaleWatch) -> None:
        self._capture = capture
        self._atlas = atlas
        self._memory = memory
        self._stale = stale
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._without_gradient: set[int] = set()

    def before(self, parameters: Iterable[Tensor]) -> None:
        """Reads weights and gradients, and keeps a copy of the weights."""
        for parameter in parameters:
            if not parameter.requires_grad or parameter.is_meta or parameter.numel() == 0:
                continue
            index = self._atlas.parameter(parameter)
            weight = excerpt(parameter.detach()).clone()
            move = ParameterUpdate(parameter.numel(), weight.numel(), gradient=gradient_norm(parameter), sample=rows_of(weight))
            move.weight = tensor_statistics.norm(weight)
            move.left = self._capture.left.get(index)
            if parameter.grad is not None:
                move.along = along(weight, parameter.grad.detach())
                move.agreement = self._memory.agreement(index, parameter.grad.detach(), step=self._capture.step)
            if parameter.grad is not None and not parameter.grad.is_sparse:
                used = tensor_statistics.norm(parameter.grad.detach().reshape(-1)[:PRINT_ELEMENTS])
                move.stale = self._stale.held(index), used
            self._capture.movements[index] = move
            self._before[index] = (parameter, weight)
            if parameter.grad is None:
                self._without_gradient.add(index)

    def after(self) -> None:
        """Measures what became of the weights. Gradients that a closure made within the step are read now."""
        for index, (parameter, earlier) in self._before.items():
            move = self._capture.movements[index]
            self._stale.updated(index)
            move.update = tensor_statistics.norm(earlier.sub_(excerpt(parameter.detach())))
            if parameter.grad is not None and index in self._without_gradient:
                move.gradient = gradient_norm(parameter)
        self._before.clear()


def along(weight: Tensor, gradient: Tensor) -> tensor_statistics.Number:
    """Cosine between an excerpt of a weight and that of its gradient: of a penalty on the weight's size it is 1, of data about 0.
    NaN where either is zero, sparse or complex."""
    if gradient.is_sparse or weight.is_complex():
        return math.nan
    w, g = _by_largest(weight), _by_largest(excerpt(gradient))
    size = torch.linalg.vector_norm(w) * torch.linalg.vector_norm(g)
    return tensor_statistics.number(torch.where(size > 0, torch.dot(w, g) / size, torch.full_like(size, math.nan)))


def _by_largest(tensor: Tensor) -> Tensor:
    """A tensor over its largest element, flat and float32: so that of a gradient of 1e-60 a direction is left."""
    wide = tensor.reshape(-1).to(torch.promote_types(tensor.dtype, torch.float32))
    return (wide / wide.abs().amax().clamp_min(torch.finfo(wide.dtype).tiny)).float()


def gradient_norm(parameter: Tensor) -> tensor_statistics.Number:
    """The norm of the gradient that a parameter holds; NaN where it holds none, which is not the same as a zero one."""
    return math.nan if parameter.grad is None else tensor_statistics.norm(parameter.grad.detach())


def excerpt(weight: Tensor, most: int = SNAPSHOT_ELEMENTS) -> Tensor:
    """Evenly spaced rows of a weight, at most so many elements where its rows allow it; a view."""
    if weight.dim() == 0 or weight.numel() <= most:
        return weight
    return weight[:: -(-weight.numel() // most)]


def rows_of(weight: Tensor) -> Tensor | None:
    """A sample of a weight matrix, to tell later whether its rows are copies of each other; None for vectors."""
    if weight.dim() < 2 or weight.shape[0] < 2 or not weight.is_floating_point():
        return None
    return tensor_statistics.subsample(weight)


def fingerprint(parameters: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """A few elements of each parameter, to tell later whether anybody changed it."""
    return [(p, p.detach().reshape(-1)[:PRINT_ELEMENTS].clone()) for p in parameters]


def has_changed(prints: Iterable[tuple[Tensor, Tensor]]) -> bool:
    """Whether any parameter differs from its fingerprint. Waits for the device: asked only while no optimizer is known."""
    return any(not torch.equal(p.detach().reshape(-1)[:PRINT_ELEMENTS], earlier) for p, earlier in prints)
