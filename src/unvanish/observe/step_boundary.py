"""Finds which optimizer ends a training step when there are several: the last one of the round in which each of them steps.

So a GAN's step holds one update of each network with the graph between them, and a step with one optimizer a layer holds
them all.
"""

from __future__ import annotations

import weakref

from torch.optim import Optimizer

# When the last optimizer has not stepped for so many steps of another one, that one takes over (a second phase of training).
PATIENCE = 25


class StepBoundary:
    """Counts the steps of all optimizers. Optimizers are held weakly.

    Example:
        >>> import torch
        >>> first, second = (torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1) for _ in range(2))
        >>> boundary = StepBoundary()
        >>> boundary.register(first), boundary.register(second)
        (None, None)
        >>> [boundary.ends_step(optimizer) for optimizer in (first, second, first, second)]
        [False, True, False, True]
    """

    def __init__(self) -> None:
        self._registered: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._stepped: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._last_optimizer: weakref.ref[Optimizer] | None = None
        self._steps_in_round: dict[int, int] = {}  # id of the optimizer -> its steps since the last training step ended

    @property
    def has_optimizer(self) -> bool:
        """Whether any optimizer has stepped."""
        return self._last_optimizer is not None

    def register(self, optimizer: Optimizer) -> None:
        """Adds an optimizer that was constructed and may step later."""
        self._registered.add(optimizer)

    def ends_step(self, optimizer: Optimizer) -> bool:
        """Whether the step that `optimizer` just made ends a training step.

        The optimizer that stepped for the first time last ends each step; the first round waits for all that are registered, unless
        one of them steps again before.
        """
        count = self._steps_in_round[id(optimizer)] = self._steps_in_round.get(id(optimizer), 0) + 1
        is_new = optimizer not in self._stepped
        self._stepped.add(optimizer)
        last = self._last_optimizer() if self._last_optimizer is not None else None
        if is_new or last is None or count >= PATIENCE:
            self._last_optimizer = weakref.ref(optimizer)
        elif last is not optimizer:
            return False
        if is_new and any(other not in self._stepped for other in self._registered):
            return False
        self._steps_in_round.clear()
        return True

    def begins_step(self, optimizer: Optimizer) -> bool:
        """Whether a step of `optimizer` right after the end of a training step belongs to a new one."""
        last = self._last_optimizer() if self._last_optimizer is not None else None
        return last is None or last is optimizer or (optimizer in self._stepped and id(optimizer) in self._steps_in_round)
