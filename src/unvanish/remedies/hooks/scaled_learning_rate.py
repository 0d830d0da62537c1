"""Step hooks under which an optimizer steps at other rates than its groups show. Between steps the groups are as they were.

Schedulers and the program's own logging see and write their own values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

from torch.optim import Optimizer

WARMED = "unvanish_warmup"
"""The entry of a group that counts its warm-up steps; there it goes through the optimizer's `state_dict`."""


class ScaledLearningRate(ABC):
    """Multiplies the learning rate of every group for the length of a step."""

    def __init__(self) -> None:
        self._changed: list[tuple[dict[str, Any], Any, Any]] = []

    @abstractmethod
    def take(self, at: int, group: dict[str, Any]) -> float:
        """The factor of the group at that place, for the step that begins now."""

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The hook before a step."""
        del args, kwargs
        self._put_back()  # a step that raised has left its rates behind
        for at, group in enumerate(optimizer.param_groups):
            factor = self.take(at, group)
            if factor != 1.0:
                own = group["lr"]
                group["lr"] = own * factor
                self._changed.append((group, own, group["lr"]))

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The hook after a step."""
        del optimizer, args, kwargs
        self._put_back()

    def _put_back(self) -> None:
        for group, own, changed in self._changed:
            if group["lr"] is changed:
                group["lr"] = own
        self._changed.clear()


@final
class ScaledRate(ScaledLearningRate):
    """A constant factor for each group; a group that is added later has the last one."""

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__()
        self._factors = tuple(factors)

    def factor(self, at: int) -> float:
        """The factor of the group at that place."""
        return self._factors[min(at, len(self._factors) - 1)]

    def take(self, at: int, group: dict[str, Any]) -> float:
        """The same one every time."""
        del group
        return self.factor(at)


@final
class WarmUp(ScaledLearningRate):
    """A factor of t / N at step t of the first N steps of a group, and then 1. `lengths` has N by the place of the group."""

    def __init__(self, lengths: Mapping[int, int]) -> None:
        super().__init__()
        self._lengths = dict(lengths)

    def take(self, at: int, group: dict[str, Any]) -> float:
        """The next value of the ramp; the group counts it."""
        length = self._lengths.get(at, 0)
        done = group.get(WARMED, 0)
        if done >= length:
            return 1.0
        group[WARMED] = done + 1
        return (done + 1) / length
