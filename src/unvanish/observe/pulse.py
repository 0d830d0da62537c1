"""Which of several optimizers beats the time: a training step ends when the first optimizer that ever stepped steps again.

So a GAN's step holds one update of each network, and a step with one optimizer a layer holds them all.
"""

from __future__ import annotations

import weakref

from torch.optim import Optimizer

# When the pacemaker has not stepped for so many steps of another optimizer, that one takes over (a second phase of training).
PATIENCE = 25


class Pulse:
    """Owner of the pacemaker."""

    def __init__(self) -> None:
        self._pacemaker: weakref.ref[Optimizer] | None = None
        self._since: dict[int, int] = {}

    @property
    def known(self) -> bool:
        """Whether any optimizer has stepped."""
        return self._pacemaker is not None

    def beats(self, optimizer: Optimizer) -> bool:
        """Whether the step that `optimizer` just made ends a training step."""
        alive = self._pacemaker() if self._pacemaker is not None else None
        count = self._since[id(optimizer)] = self._since.get(id(optimizer), 0) + 1
        if alive is None or alive is optimizer or count >= PATIENCE:
            self._pacemaker = weakref.ref(optimizer)
            self._since.clear()
            return True
        return False

    def repeats(self, optimizer: Optimizer) -> bool:
        """Whether a step of `optimizer` belongs to a new training step, rather than to the end of the last one."""
        alive = self._pacemaker() if self._pacemaker is not None else None
        return alive is None or alive is optimizer or id(optimizer) in self._since
