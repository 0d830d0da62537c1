"""Who hears a network's answers: its inputs, its outputs, and the criteria that judge them, step by step.

The last few outputs are held from the network's call to the next backward, and no longer than the sampled step: a difference made
by hand keeps neither of its sides. Their graphs are not held.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unvanish import source_location
from unvanish.observe.head.criteria import Criterion, criteria, key_of
from unvanish.observe.head.head_metrics import CLASSIFIERS, TargetMemory, class_dim, classes_of, judge
from unvanish.observe.head.neighbours import Neighbours
from unvanish.observe.statistics import tensor_statistics
from unvanish.observe.statistics.site_statistics import Capture
from unvanish.observe.structure.model_index import ModelIndex
from unvanish.record.reading import Axis
from unvanish.record.structure import Head

MOST_CLASSES = 128  # an indicator of each; beyond that neighbours are not asked
MOST_ANSWERS = 16  # columns of an amount that is one answer, not a picture
MOST_TURNS = 4  # equal criteria of one loss that are told apart; a loop over time steps or episodes makes more
MOST_OUTPUTS = 16  # the last ones since the last backward


@dataclass(slots=True)
class HeadMemory:
    """What was asked of one head, over the samples."""

    targets: TargetMemory = field(default_factory=TargetMemory)
    neighbours: Neighbours = field(default_factory=Neighbours)


class HeadObserver:
    """Owner of what is remembered of the answers."""

    def __init__(self, atlas: ModelIndex) -> None:
        self._atlas = atlas
        self._memories: dict[int, HeadMemory] = {}

    def called(self, capture: Capture, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """A network has run with gradients on."""
        if next(model.parameters(), None) is None:
            return
        given = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        floating = [t for t in given if _plain(t)]
        numbers = capture.inputs.setdefault(self._atlas.network(model, None), {"batch_size": 0.0})
        if given:
            numbers["batch_size"] += _examples(given[0])
        if floating and len(numbers) == 1 and floating[0].dim() > 0:
            numbers |= tensor_statistics.input_numbers(floating[0].detach())
        if len(floating) == 1 and len(given) == 1 and floating[0].dim() > 1:
            capture.asked.append((len(floating[0]), tensor_statistics.subsample(floating[0].detach())))
            del capture.asked[:-MOST_OUTPUTS]
        for tensor in pytree.tree_leaves(output):
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                capture.outputs[key_of(tensor.grad_fn)] = tensor.detach()
        for oldest in list(capture.outputs)[:-MOST_OUTPUTS]:
            del capture.outputs[oldest]

    def loss(self, loss: Any, capture: Capture, frame: FrameType | None) -> None:
        """`backward` is about to be called on a loss: whatever judges an output in it is taken in."""
        outputs, capture.outputs = capture.outputs, {}
        asked, capture.asked = capture.asked, []
        parts = [loss] if isinstance(loss, Tensor) else [t for t in loss if isinstance(t, Tensor)]
        turns = Counter[Head]()
        with torch.no_grad():
            for part in parts:
                for criterion in criteria(part, outputs):
                    self._hear(criterion, turns, asked, capture, frame)

    def _hear(
        self,
        criterion: Criterion,
        turns: Counter[Head],
        asked: list[tuple[int, Tensor]],
        capture: Capture,
        frame: FrameType | None,
    ) -> None:
        head = self._head_of(criterion, frame)
        if head is None:
            return
        turn, turns[head] = turns[head], turns[head] + 1
        if turn >= MOST_TURNS:
            return
        index = self._atlas.head(replace(head, turn=turn))
        if index is None:
            return
        memory = self._memories.setdefault(index, HeadMemory())
        numbers = judge(criterion, memory.targets)
        answers = _answers(criterion)
        rows = next((rows for count, rows in reversed(asked) if answers is not None and count == len(answers)), None)
        if answers is not None and rows is not None:
            stride = max(1, -(-len(answers) // tensor_statistics.EXAMPLES))
            numbers |= memory.neighbours.meet(rows, answers[::stride].float())
        capture.judged.setdefault(index, {}).update(numbers)

    def _head_of(self, criterion: Criterion, frame: FrameType | None) -> Head | None:
        """The record of what a criterion judges; None where that is no network under observation."""
        if criterion.kind == "pair" or not self._atlas.sizes[Axis.NETWORK]:
            return None
        way, judged = (
            criterion.way,
            next((t for t in (criterion.prediction, criterion.difference, criterion.target) if t is not None), None),
        )
        weight = self._atlas.index_of(way.weight) if way.weight is not None else None
        if judged is None or (way.weight is not None and weight is None):
            return None
        network = self._atlas.network_of(weight) if weight is not None else 0
        dim = class_dim(judged) if criterion.kind in CLASSIFIERS else judged.dim() - 1
        width = judged.shape[dim] if judged.dim() > 1 else 1
        where = source_location.location(source_location.place(frame))
        return Head(network, criterion.kind, way.squash, width, weight, way.softmax_extent, way.over_examples, location=where)


def _examples(given: Tensor) -> float:
    """How many examples an input holds; a vector of floats is one."""
    one = given.dim() == 0 or (given.dim() == 1 and given.is_floating_point())
    return 1.0 if one else float(given.shape[0])


def _plain(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0 and tensor.layout is torch.strided and not tensor.is_meta


def _answers(criterion: Criterion) -> Tensor | None:
    """One row for each example: an indicator of its class, or its amounts; None where an example has more than one answer."""
    target, prediction = criterion.target, criterion.prediction
    if target is None or prediction is None or not target.dim() or not target.numel() or criterion.comparisons > 1:
        return None
    if criterion.kind in CLASSIFIERS:
        width = prediction.shape[class_dim(prediction)]
        classes, counted = classes_of(target, prediction)
        if prediction.dim() != 2 or width > MOST_CLASSES or not width > 1:
            return None
        places = torch.arange(width, device=classes.device)
        return ((classes[:, None] == places) & counted[:, None]).float()
    rows = target.reshape(target.shape[0], -1)
    return rows if rows.shape[1] <= MOST_ANSWERS else None
