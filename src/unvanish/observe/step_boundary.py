"""Which of several optimizers ends a training step: the last one of the round in which each of them steps.

So a GAN's step holds one update of each network with the graph between them, and a step with one optimizer a layer holds
them all. It counts steps and looks at nothing else.
"""

from __future__ import annotations

import weakref

from torch.optim import Optimizer

# When the pacemaker has not stepped for so many steps of another optimizer, that one takes over (a second phase of training).
PATIENCE = 25


class StepBoundary:
    """Owner of the pacemaker."""

    def __init__(self) -> None:
        self._built: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._stepped: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._pacemaker: weakref.ref[Optimizer] | None = None
        self._since: dict[int, int] = {}

    @property
    def known(self) -> bool:
        """Whether any optimizer has stepped."""
        return self._pacemaker is not None

    def built(self, optimizer: Optimizer) -> None:
        """Takes note of an optimizer that may step one day."""
        self._built.add(optimizer)

    def beats(self, optimizer: Optimizer) -> bool:
        """Whether the step that `optimizer` just made ends a training step.

        The one that joined last sets the pace; the first round waits for all that were built, unless one comes round again.
        """
        count = self._since[id(optimizer)] = self._since.get(id(optimizer), 0) + 1
        joins = optimizer not in self._stepped
        self._stepped.add(optimizer)
        pacemaker = self._pacemaker() if self._pacemaker is not None else None
        if joins or pacemaker is None or count >= PATIENCE:
            self._pacemaker = weakref.ref(optimizer)
        elif pacemaker is not optimizer:
            return False
        if joins and any(other not in self._stepped for other in self._built):
            return False
        self._since.clear()
        return True

    def repeats(self, optimizer: Optimizer) -> bool:
        """Whether a step of `optimizer` right after the end of a training step belongs to a new one."""
        pacemaker = self._pacemaker() if self._pacemaker is not None else None
        return pacemaker is None or pacemaker is optimizer or (optimizer in self._stepped and id(optimizer) in self._since)
