"""Observes the inputs and outputs of networks and the losses computed of them, and measures each head at every sampled step.

The last few outputs are held from the network's call to the next backward, and no longer than the sampled step: the graph of a
difference written by hand saves neither of its operands. Their graphs are not held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unvanish import source_location
from unvanish.network.distributed_tensors import is_distributed, local_part
from unvanish.observe.output_head.criteria import Criterion, continue_path, find_criteria, search_loss
from unvanish.observe.output_head.graph_nodes import Edge, node_key
from unvanish.observe.output_head.head_metrics import CLASSIFICATION, TargetStatistics, class_dim, class_labels, measure_head
from unvanish.observe.output_head.neighbour_baseline import Neighbours
from unvanish.observe.statistics import tensor_statistics
from unvanish.observe.statistics.step_capture import Capture
from unvanish.observe.structure.model_index import ModelIndex
from unvanish.record.quantities import Axis
from unvanish.record.structure import Head, Location

MAX_CLASSES = 128  # with more, no neighbour baseline is computed: it needs an indicator of each class
MAX_TARGET_COLUMNS = 16  # columns of a regression target that is one answer, not an image
MAX_OCCURRENCES = 4  # equal criteria of one loss that are told apart; a loop over time steps or episodes has more
MAX_OUTPUTS = 16  # the last ones since the last backward


@dataclass(slots=True)
class HeadState:
    """What is kept of one head from sample to sample."""

    targets: TargetStatistics = field(default_factory=TargetStatistics)
    neighbours: Neighbours = field(default_factory=Neighbours)


@dataclass(slots=True)
class PendingLoss:
    """The criteria of a loss, the outputs of compiled code in it, samples of the networks' inputs, and the line of its backward."""

    criteria: list[Criterion]
    compiled: list[Edge]
    input_samples: list[tuple[int, Tensor]]
    location: Location | None
    heads: list[int] = field(default_factory=list[int])


class HeadObserver:
    """Writes the numbers of networks' inputs and of heads into the capture of a sampled step."""

    def __init__(self, model_index: ModelIndex) -> None:
        self._model_index = model_index
        self._states: dict[int, HeadState] = {}
        self._pending: list[PendingLoss] = []

    def record_call(self, capture: Capture, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Measures the input of a network that has run with gradients on, and keeps its outputs until the next backward."""
        outputs = [t for t in pytree.tree_leaves(output) if isinstance(t, Tensor)]
        inputs = [local_part(t) for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if not (inputs or outputs) or next(model.parameters(), None) is None:  # Keras computes shapes first
            return
        floating = [t for t in inputs if tensor_statistics.is_measurable(t)]
        numbers = capture.input_numbers.setdefault(self._model_index.network_index(model, None), {"batch_size": 0.0})
        if inputs:
            numbers["batch_size"] += _example_count(inputs[0])
        if floating and len(numbers) == 1 and floating[0].dim() > 0:
            numbers |= tensor_statistics.describe_input(floating[0].detach())
        if len(floating) == 1 and len(inputs) == 1 and floating[0].dim() > 1:
            capture.input_samples.append((len(floating[0]), tensor_statistics.subsample(floating[0].detach())))
            del capture.input_samples[:-MAX_OUTPUTS]
        for tensor in outputs:
            if tensor.grad_fn is not None:
                capture.outputs[node_key(tensor.grad_fn)] = local_part(tensor).detach()
        for oldest in list(capture.outputs)[:-MAX_OUTPUTS]:
            del capture.outputs[oldest]

    def record_loss(self, loss: Any, capture: Capture, frame: FrameType | None, *, is_compiled: bool) -> list[int]:
        """Measures the criteria in a loss, or in each loss of a sequence, on which `backward` is about to be called.

        Returns the indices of their heads. `is_compiled`: whether compiled code has a part in it; what that hides is measured by
        `record_eager_outputs` afterwards, which adds to that list.
        """
        outputs, capture.outputs = capture.outputs, {}
        input_samples, capture.input_samples = capture.input_samples, []
        location = source_location.read_location(source_location.find_user_line(frame))
        parts = [loss] if isinstance(loss, Tensor) else [t for t in loss if isinstance(t, Tensor)]
        with torch.no_grad():
            searches = [
                search_loss(part, outputs) for part in parts if not is_distributed(part)
            ]  # operands of others wait for the other processes
            criteria = [criterion for search in searches for criterion in search.criteria]
            compiled = [edge for search in searches for edge in search.compiled]
            pending = PendingLoss(criteria, compiled, input_samples, location)
            if is_compiled:
                self._pending.append(pending)
            else:
                self._observe_loss(pending, capture)
        return pending.heads

    def record_eager_outputs(self, capture: Capture, eager_outputs: Mapping[Edge, Tensor]) -> None:
        """Measures the losses in which compiled code has a part, by what that code has put out when it ran eagerly."""
        outputs, capture.outputs = capture.outputs, {}
        input_samples, capture.input_samples = capture.input_samples, []
        pending, self._pending = self._pending, []
        with torch.no_grad():
            for loss in pending:
                loss.criteria += [c for e in loss.compiled if e in eager_outputs for c in find_criteria(eager_outputs[e], outputs)]
                loss.criteria = [continue_path(criterion, eager_outputs) for criterion in loss.criteria]
                loss.input_samples = loss.input_samples or input_samples
                self._observe_loss(loss, capture)

    def _observe_loss(self, loss: PendingLoss, capture: Capture) -> None:
        occurrences = Counter[Head]()
        indices = [self._observe(criterion, occurrences, loss, capture) for criterion in loss.criteria]
        loss.heads.extend(index for index in indices if index is not None)

    def _observe(self, criterion: Criterion, occurrences: Counter[Head], loss: PendingLoss, capture: Capture) -> int | None:
        head = self._head_of(criterion, loss.location)
        if head is None:
            return None
        occurrence = occurrences[head]
        occurrences[head] += 1
        if occurrence >= MAX_OCCURRENCES:
            return None
        index = self._model_index.head_index(replace(head, turn=occurrence))
        if index is None:
            return None
        state = self._states.setdefault(index, HeadState())
        numbers = measure_head(criterion, state.targets)
        targets = _target_rows(criterion)
        rows = next((rows for count, rows in reversed(loss.input_samples) if targets is not None and count == len(targets)), None)
        if targets is not None and rows is not None:
            stride = max(1, -(-len(targets) // tensor_statistics.MAX_EXAMPLES))
            numbers |= state.neighbours.update(rows, targets[::stride].float())
        capture.head_numbers.setdefault(index, {}).update(numbers)
        return index

    def _head_of(self, criterion: Criterion, location: Location | None) -> Head | None:
        """The head that a criterion compares with its target; None where it belongs to no observed network."""
        if criterion.kind == "pair" or not self._model_index.axis_lengths[Axis.NETWORK]:
            return None
        path = criterion.path
        operands = [t for t in (criterion.prediction, criterion.difference, criterion.target) if t is not None]
        compared = next(iter(operands), None)
        if any(map(is_distributed, operands)):
            return None
        weight = self._model_index.known_parameter(path.weight) if path.weight is not None else None
        if compared is None or (path.weight is not None and weight is None):
            return None
        network = self._model_index.network_of(weight) if weight is not None else 0
        dim = class_dim(compared) if criterion.kind in CLASSIFICATION else compared.dim() - 1
        width = compared.shape[dim] if compared.dim() > 1 else 1
        softmax = (path.softmax_extent, path.over_examples)
        return Head(network, criterion.kind, path.activations, width, weight, *softmax, location=location)


def _example_count(inputs: Tensor) -> float:
    """The number of examples in an input; a vector of floats is one."""
    is_single = inputs.dim() == 0 or (inputs.dim() == 1 and inputs.is_floating_point())
    return 1.0 if is_single else float(inputs.shape[0])


def _target_rows(criterion: Criterion) -> Tensor | None:
    """Targets of shape (examples, columns), an indicator of the class or values; None where an example has several answers."""
    target, prediction = criterion.target, criterion.prediction
    if target is None or prediction is None or not target.dim() or not target.numel() or criterion.comparisons > 1:
        return None
    if criterion.kind in CLASSIFICATION:
        width = prediction.shape[class_dim(prediction)]
        labels, is_counted = class_labels(target, prediction)
        if prediction.dim() != 2 or width > MAX_CLASSES or not width > 1:
            return None
        classes = torch.arange(width, device=labels.device)
        return ((labels[:, None] == classes) & is_counted[:, None]).float()
    rows = target.reshape(target.shape[0], -1)
    return rows if rows.shape[1] <= MAX_TARGET_COLUMNS else None
