"""Keeps the loss and the end time of every step, sampled or not. Only `take` synchronises with an accelerator."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.weak import WeakTensorKeyDictionary

from unvanish.network.distributed_tensors import local_part
from unvanish.observe.loss_attribution import LossAttribution, RecordedLoss
from unvanish.observe.statistics.tensor_statistics import Number, read_back, to_number
from unvanish.record.quantities import StepMark

# Losses on an accelerator stay there until the next sampled step; so many steps may pass before they are read back anyway.
MAX_PENDING_STEPS = 1000


class StepLog:
    """Collects the losses of the step in progress, and the finished steps that are not written yet."""

    def __init__(self) -> None:
        self._attribution = LossAttribution()
        self._unassigned: list[RecordedLoss] = []
        self._losses: dict[int, Number] = {}
        self._assignments: dict[int, int] = {}
        self._finished: list[tuple[int, float, dict[int, Number]]] = []
        self._unscaled: Any = WeakTensorKeyDictionary()
        self.last_loss = math.nan

    def record_scaling(self, scaled: Tensor, loss: Tensor) -> None:
        """Records that a gradient scaler made `scaled` out of `loss`: its factor is no part of the loss."""
        self._unscaled[scaled] = loss.detach()

    def register(self, optimizer: Optimizer) -> None:
        """Adds an optimizer, whose losses are told from those of others by the gradients of its parameters."""
        self._attribution.register(optimizer)

    def record_loss(self, tensors: Any) -> None:
        """Records what `backward` is called on: the sum of its tensors, each the mean of its elements."""
        parts = [tensors] if isinstance(tensors, Tensor) else [t for t in tensors if isinstance(t, Tensor)]
        values = [local_part(self._unscaled.get(p, p)).detach() for p in parts]
        if values:
            total = values[0] if values[0].dim() == 0 else values[0].mean()
            for value in values[1:]:
                total = total + value.mean()
            self._unassigned.append(RecordedLoss(to_number(total)))
        self._attribution.backward_begins()

    def record_heads(self, heads: list[int]) -> None:
        """Records the indices of the heads that are in the loss recorded last."""
        if self._unassigned:
            self._unassigned[-1].heads = heads

    def backward_ended(self) -> None:
        """The backward call on the loss that was recorded last is over: its gradients are there."""
        if self._unassigned:
            self._attribution.backward_ended(self._unassigned[-1])

    def assign_losses(self, objective: int, optimizer: Optimizer | None = None, *, first_only: bool = False) -> list[int]:
        """Assigns an objective (an optimizer) the mean of the losses that reached its parameters, and returns the heads in these.

        Where that is not known, it is the mean of all losses since the last call, and none is returned. `first_only`: the first
        loss alone counts, as in an optimizer with a closure. An objective that is assigned losses several times in a step, such as
        a critic, has their mean.
        """
        if optimizer is not None:
            self._attribution.register(optimizer)  # one that was built before observing
        reached = self._attribution.take(optimizer) if optimizer is not None else []
        candidates = reached or self._unassigned
        chosen = candidates[:1] if first_only else candidates
        if chosen:
            total = chosen[0].value
            for loss in chosen[1:]:
                total = total + loss.value
            before, count = self._losses.get(objective, 0.0), self._assignments.get(objective, 0)
            self._losses[objective] = (before * count + total / len(chosen)) / (count + 1)
            self._assignments[objective] = count + 1
            if isinstance(self._losses[objective], float) and objective == 0:
                self.last_loss = float(self._losses[objective])
            self._unassigned = []
        return [head for loss in (reached if self._attribution.is_needed else chosen) for head in loss.heads]

    def discard_losses(self) -> None:
        """Drops the losses that are not assigned yet: they belong to a network that is not watched."""
        self._unassigned = []

    def end_step(self, step: int, ended_s: float) -> None:
        """Ends the step at that time, in seconds since the run began."""
        self._finished.append((step, ended_s, self._losses))

    def begin_step(self) -> None:
        """Begins a step without losses; those that were assigned to no optimizer in the step before are dropped."""
        self._losses = {}
        self._assignments = {}

    @property
    def is_ready(self) -> bool:
        """Whether finished steps can be written without synchronising, or are so many that they are written anyway."""
        on_device = any(isinstance(value, Tensor) for _, _, losses in self._finished for value in losses.values())
        return bool(self._finished) and (not on_device or len(self._finished) >= MAX_PENDING_STEPS)

    def take(self, objectives: int) -> list[StepMark]:
        """The finished steps, read back from the device, and removed from the log; each with one loss an objective."""
        is_present = [o in losses for _, _, losses in self._finished for o in range(objectives)]
        numbers: list[Number] = [losses.get(o, math.nan) for _, _, losses in self._finished for o in range(objectives)]
        values = [math.inf if present and math.isnan(n) else n for present, n in zip(is_present, read_back(numbers), strict=True)]
        marks = [
            StepMark(step, ended_s, tuple(values[i * objectives : (i + 1) * objectives]))
            for i, (step, ended_s, _) in enumerate(self._finished)
        ]
        self._finished = []
        finite = [m.losses[0] for m in marks if not math.isnan(m.losses[0])]
        self.last_loss = finite[-1] if finite else self.last_loss
        return marks
