"""The loss and the clock of every step, sampled or not: what costs nothing to know. It waits for a device only in `take`."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from unvanish.observe.statistics.tensor_statistics import Number, number, settle
from unvanish.record.reading import StepMark

# Losses on an accelerator wait there for the next sampled step; so many may wait before they are read back anyway.
WAITING_LIMIT = 1000


class StepLog:
    """Collects the losses of the step in progress, and the finished steps that are not written yet."""

    def __init__(self) -> None:
        self._pending: list[Number] = []
        self._losses: dict[int, Number] = {}
        self._claims: dict[int, int] = {}
        self._done: list[tuple[int, float, dict[int, Number]]] = []
        self._scaled: Any = WeakTensorKeyDictionary()
        self.last_loss = math.nan

    def scaled(self, scaled: Tensor, loss: Tensor) -> None:
        """Remembers that `scaled` stands for `loss`: a gradient scaler's factor is no part of it."""
        self._scaled[scaled] = loss.detach()

    def loss(self, tensors: Any) -> None:
        """Takes in what `backward` was called on: the mean where it is several tensors or elements."""
        parts = [tensors] if isinstance(tensors, Tensor) else [t for t in tensors if isinstance(t, Tensor)]
        values = [self._scaled.get(p, p).detach() for p in parts]
        if values:
            total = values[0] if values[0].dim() == 0 else values[0].mean()
            for value in values[1:]:
                total = total + value.mean()
            self._pending.append(number(total))

    def claim(self, objective: int, *, first_only: bool = False) -> None:
        """The losses since the last claim belong to the step of that objective. A closure's first loss is the step's own.

        An objective that claims several times within a step, such as a critic, has the mean of those.
        """
        if self._pending:
            chosen = self._pending[:1] if first_only else self._pending
            total = chosen[0]
            for value in chosen[1:]:
                total = total + value
            before, claims = self._losses.get(objective, 0.0), self._claims.get(objective, 0)
            self._losses[objective] = (before * claims + total / len(chosen)) / (claims + 1)
            self._claims[objective] = claims + 1
            if isinstance(self._losses[objective], float) and objective == 0:
                self.last_loss = float(self._losses[objective])
            self._pending = []

    def forget(self) -> None:
        """Drops the losses since the last claim: they belong to a network that is not watched."""
        self._pending = []

    def end(self, step: int, ended_s: float) -> None:
        """Closes the step at that time."""
        self._done.append((step, ended_s, self._losses))

    def begin(self) -> None:
        """The next step's losses start here; those that no optimizer claimed are forgotten with their step."""
        self._losses = {}
        self._claims = {}

    @property
    def ready(self) -> bool:
        """Whether the finished steps can be written without waiting for a device, or have waited for long enough."""
        waiting = any(isinstance(value, Tensor) for _, _, losses in self._done for value in losses.values())
        return bool(self._done) and (not waiting or len(self._done) >= WAITING_LIMIT)

    def take(self, objectives: int) -> list[StepMark]:
        """The finished steps, read back and handed over."""
        present = [o in losses for _, _, losses in self._done for o in range(objectives)]
        numbers: list[Number] = [losses.get(o, math.nan) for _, _, losses in self._done for o in range(objectives)]
        settled = [math.inf if there and math.isnan(n) else n for there, n in zip(present, settle(numbers), strict=True)]
        marks = [
            StepMark(step, ended_s, tuple(settled[i * objectives : (i + 1) * objectives]))
            for i, (step, ended_s, _) in enumerate(self._done)
        ]
        self._done = []
        finite = [m.losses[0] for m in marks if not math.isnan(m.losses[0])]
        self.last_loss = finite[-1] if finite else self.last_loss
        return marks
