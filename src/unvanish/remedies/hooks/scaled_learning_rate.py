"""Optimizer step hooks that multiply learning rates during a step: constant factors and warm-up.

Between steps the groups keep their own rates, which schedulers and logging read and write.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

from torch.optim import Optimizer

WARMUP_STEPS_KEY = "unvanish_warmup"
"""The entry of a group that counts its warm-up steps, and is part of the optimizer's `state_dict`."""


class ScaledLearningRate(ABC):
    """Multiplies the learning rate of every group during a step."""

    def __init__(self) -> None:
        self._scaled_groups: list[tuple[dict[str, Any], Any, Any]] = []

    @abstractmethod
    def next_factor(self, index: int, group: dict[str, Any]) -> float:
        """The factor of group number `index` for the step that begins now."""

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The pre-hook: register it with `optimizer.register_step_pre_hook`."""
        del args, kwargs
        self._restore_rates()  # a step that raised did not run its post-hook
        for index, group in enumerate(optimizer.param_groups):
            factor = self.next_factor(index, group)
            if factor != 1.0:
                original = group["lr"]
                group["lr"] = original * factor
                self._scaled_groups.append((group, original, group["lr"]))

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The post-hook: register it with `optimizer.register_step_post_hook`."""
        del optimizer, args, kwargs
        self._restore_rates()

    def _restore_rates(self) -> None:
        for group, original, scaled in self._scaled_groups:
            if group["lr"] is scaled:
                group["lr"] = original
        self._scaled_groups.clear()


@final
class ConstantRateFactor(ScaledLearningRate):
    """A constant factor on the learning rate of each group.

    Arguments:
        factors: one factor for each group; a group that is added later has the last one.
    """

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__()
        self._factors = tuple(factors)

    def factor(self, index: int) -> float:
        """The factor of group number `index`."""
        return self._factors[min(index, len(self._factors) - 1)]

    def next_factor(self, index: int, group: dict[str, Any]) -> float:
        """The group's constant factor."""
        del group
        return self.factor(index)


@final
class WarmUp(ScaledLearningRate):
    """Linear warm-up: a factor of t / N on the learning rate at step t of a group's first N steps, and 1 afterwards.

    Arguments:
        ramp_steps_by_group: N by the number of the group; a group that is missing has no warm-up.

    Example:
        >>> import torch
        >>> parameter = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.SGD([parameter], lr=1.0)
        >>> warmup = WarmUp({0: 4})
        >>> handles = optimizer.register_step_pre_hook(warmup.before_step), optimizer.register_step_post_hook(warmup.after_step)
        >>> for _ in range(2):
        ...     parameter.grad = torch.ones(1)
        ...     optimizer.step()
        >>> parameter.item(), optimizer.param_groups[0]["lr"]  # -1/4 - 2/4
        (-0.75, 1.0)
    """

    def __init__(self, ramp_steps_by_group: Mapping[int, int]) -> None:
        super().__init__()
        self._ramp_steps = dict(ramp_steps_by_group)

    def next_factor(self, index: int, group: dict[str, Any]) -> float:
        """The next value of the ramp; counts the step in the group."""
        ramp_steps = self._ramp_steps.get(index, 0)
        steps_done = group.get(WARMUP_STEPS_KEY, 0)
        if steps_done >= ramp_steps:
            return 1.0
        group[WARMUP_STEPS_KEY] = steps_done + 1
        return (steps_done + 1) / ramp_steps
