"""Which steps are sampled: the first ten, each doubling of that, and between as many as the time budget allows.

It measures nothing: its owner tells it the time.
"""

from __future__ import annotations

from unvanish.observe.settings import Settings

# These are sampled whatever they cost, and so are steps 20, 40, 80, ...: of a short run something must be known beyond its
# beginning, and over a long one they weigh nothing.
FIRST_STEPS = 10
# Between those, samples keep at least 2 % of the run between them: about 115 samples a decade of steps, so that the
# record of a long run stays small and the last sample is never far from the end.
SPACING = 0.02
# The estimate of a sample's cost follows the last few samples; the first ones also pay for warming up.
MEMORY = 0.3


class Schedule:
    """Decides step by step. The owner reports what each sample cost."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last = 0
        self._cost_s = 0.0

    def wants(self, step: int, *, own_s: float, elapsed_s: float) -> bool:
        """Whether to sample `step`, when observing has taken `own_s` of the `elapsed_s` seconds so far."""
        if self._settings.every is not None:
            return step == 1 or step % self._settings.every == 0
        if step <= FIRST_STEPS or _is_doubling(step):
            return True
        spaced = step >= self._last + max(1.0, SPACING * self._last)
        return spaced and own_s + self._cost_s <= self._settings.budget * elapsed_s

    def sampled(self, step: int, cost_s: float) -> None:
        """Takes note that `step` was sampled and what that cost."""
        self._cost_s = cost_s if self._last == 0 else (1 - MEMORY) * self._cost_s + MEMORY * cost_s
        self._last = step


def _is_doubling(step: int) -> bool:
    """Whether `step` is FIRST_STEPS times a power of two."""
    times, rest = divmod(step, FIRST_STEPS)
    return rest == 0 and times & (times - 1) == 0
