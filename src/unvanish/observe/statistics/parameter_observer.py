"""Measures what each step does to the parameters: reads weights and gradients before the update, and the weights after it.

The gradient is read just before the optimizer uses it, which works alike for accumulated, clipped, unscaled and sharded
gradients; the update is the difference of the weights before and after. Parameters are never written to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from unvanish.network.distributed_tensors import is_released, local_part
from unvanish.observe.statistics import tensor_statistics
from unvanish.observe.statistics.parameter_updates import (
    ParameterUpdate,
    first_elements,
    gradient_norm,
    gradient_weight_cosine,
    sample_matrix,
    scale_by_largest,
    select_rows,
)
from unvanish.observe.statistics.step_capture import Capture
from unvanish.observe.statistics.tensor_statistics import Number
from unvanish.observe.structure.model_index import ModelIndex

# A direction is kept from sample to sample: of 2**13 elements the cosine of unrelated ones is within 0.02 of zero.
DIRECTION_ELEMENTS = 2**13


class GradientDirections:
    """Keeps the direction of each parameter's gradient at the sample before, to compare gradients from batch to batch."""

    def __init__(self) -> None:
        self._directions: dict[int, tuple[int, Tensor]] = {}
        self._agreements: dict[int, Number] = {}

    def agreement(self, index: int, gradient: Tensor, *, step: int) -> Number:
        """Cosine between a gradient and that of the sample before, over evenly spaced rows of a large one.

        NaN where either is zero or sparse, since a sparse one has other rows each time. A second call at the same step returns the
        first call's value.
        """
        if index in self._directions and self._directions[index][0] == step:
            return self._agreements[index]
        self._agreements[index] = agreement = self._compare(index, gradient, step)
        return agreement

    def _compare(self, index: int, gradient: Tensor, step: int) -> Number:
        if gradient.is_sparse:
            return math.nan
        sample = select_rows(tensor_statistics.dense_values(gradient), DIRECTION_ELEMENTS)
        direction = torch.nn.functional.normalize(scale_by_largest(sample), dim=0)
        _, before = self._directions.get(index, (0, None))
        self._directions[index] = step, direction
        if before is None or before.shape != direction.shape or before.device != direction.device:
            return math.nan
        cosine = torch.dot(before, direction)
        both_nonzero = (before.abs().amax() > 0) & (direction.abs().amax() > 0)
        return tensor_statistics.to_number(torch.where(both_nonzero, cosine, torch.full_like(cosine, math.nan)))


class StaleGradients:
    """Measures whether gradients had been cleared when backward began: the least norm that each parameter still held, over the
    backward calls since its own last update."""

    def __init__(self, model_index: ModelIndex) -> None:
        self._model_index = model_index
        self._held: dict[int, Number] = {}

    def backward_begins(self) -> None:
        """Measures the first elements of every gradient present. Does not synchronise with the device."""
        for parameter in self._model_index.living_parameters():
            index = self._model_index.parameter_index(parameter)
            if parameter.grad is None or parameter.grad.is_sparse:
                self._held[index] = 0.0
                continue
            norm = tensor_statistics.euclidean_norm(first_elements(parameter.grad))
            before = self._held.get(index)
            self._held[index] = norm if before is None else _minimum(before, norm)

    def held(self, index: int) -> Number:
        """The norm of the first elements of the gradient that a parameter still held; NaN where none was measured."""
        return self._held.get(index, math.nan)

    def updated(self, index: int) -> None:
        """Forgets what a parameter held: after its update, its gradient belongs to the step before."""
        self._held.pop(index, None)


def _minimum(one: Number, other: Number) -> Number:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return torch.minimum(torch.as_tensor(one), torch.as_tensor(other))
    return min(one, other)


class ParameterObserver:
    """Writes the parameters' numbers of each sampled step into its capture."""

    def __init__(self, model_index: ModelIndex) -> None:
        self._model_index = model_index
        self._directions = GradientDirections()
        self._stale_gradients = StaleGradients(model_index)
        self._updates: dict[int, ParameterUpdate] = {}
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # parameter index -> the parameter, and a copy of its selected rows
        self._without_gradient: set[int] = set()

    def backward_begins(self) -> None:
        """A backward pass of a sampled step is about to run."""
        self._stale_gradients.backward_begins()

    def backward_ended(self, capture: Capture) -> None:
        """Measures the gradients that backward has left, before they are clipped or unscaled."""
        for parameter in self._model_index.living_parameters():
            if parameter.grad is not None:
                index = self._model_index.parameter_index(parameter)
                capture.backward_gradients[index] = (gradient_norm(parameter), local_part(parameter).numel())

    def before_update(self, capture: Capture, parameters: Iterable[Tensor]) -> None:
        """Reads weights and gradients, and keeps a copy of the weights' selected rows."""
        self.discard()
        self._updates = capture.updates
        for parameter in parameters:
            if not parameter.requires_grad or parameter.is_meta or is_released(parameter):
                continue
            index = self._model_index.parameter_index(parameter)
            own = local_part(parameter).detach()
            self._model_index.record_local_size(index, own.numel())
            if own.numel() == 0:
                continue
            weight = select_rows(own).clone()
            update = ParameterUpdate(
                own.numel(),
                weight.numel(),
                weight_norm=tensor_statistics.euclidean_norm(weight),
                gradient_norm=gradient_norm(parameter),
                matrix_sample=sample_matrix(weight),
                backward_gradient=capture.backward_gradients.get(index),
            )
            if parameter.grad is None:
                self._without_gradient.add(index)
            else:
                gradient = local_part(parameter.grad).detach()
                update.gradient_along_weight = gradient_weight_cosine(weight, gradient)
                update.gradient_agreement = self._directions.agreement(index, gradient, step=capture.step)
                if not gradient.is_sparse:
                    used = tensor_statistics.euclidean_norm(first_elements(gradient))
                    update.stale_norms = self._stale_gradients.held(index), used
            self._updates[index] = update
            self._before[index] = (parameter, weight)

    def after_update(self) -> None:
        """Measures how the weights have changed; gradients that a closure made within the step are read now."""
        for index, (parameter, earlier) in self._before.items():
            update = self._updates[index]
            self._stale_gradients.updated(index)
            update.update_norm = tensor_statistics.euclidean_norm(earlier.sub_(select_rows(local_part(parameter).detach())))
            if parameter.grad is not None and index in self._without_gradient:
                update.gradient_norm = gradient_norm(parameter)
        self.discard()

    def discard(self) -> None:
        """Releases the copies of the weights; an update in progress is not measured."""
        self._updates = {}
        self._before.clear()
        self._without_gradient.clear()
