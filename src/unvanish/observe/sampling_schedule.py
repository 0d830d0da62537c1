"""Decides which steps are sampled: the first ten, each doubling of that, and between as many as the time budget allows."""

from __future__ import annotations

from unvanish.observe.settings import Settings

# These are sampled whatever they cost, and so are steps 20, 40, 80, ...: so that a short run is covered beyond its beginning;
# in a long one their cost is negligible.
FIRST_STEPS = 10
# Between those, samples keep at least 2 % of the run between them: about 115 samples a decade of steps, so that the
# record of a long run stays small and the last sample is never far from the end.
MIN_SPACING = 0.02
# The estimate of a sample's cost follows the last few samples; the first ones also pay for warming up.
SMOOTHING = 0.3


class Schedule:
    """Decides step by step, from the cost of the samples so far, which the caller reports by `record_sample`.

    Example:
        >>> schedule = Schedule(Settings(budget=0.0))
        >>> [step for step in range(1, 100) if schedule.should_sample(step, own_s=0.1, elapsed_s=1.0)]
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 40, 80]
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last_sample = 0
        self._cost_s = 0.0

    def should_sample(self, step: int, *, own_s: float, elapsed_s: float) -> bool:
        """Whether to sample `step`, when observing has taken `own_s` of the `elapsed_s` seconds so far."""
        if self._settings.every is not None:
            return step == 1 or step % self._settings.every == 0
        if step <= FIRST_STEPS or _is_doubling(step):
            return True
        if self._settings.is_one_of_many and step % _alignment(step - self._last_sample):
            return False
        is_spaced = step >= self._last_sample + max(1.0, MIN_SPACING * self._last_sample)
        return is_spaced and own_s + self._cost_s <= self._settings.budget * elapsed_s

    def record_sample(self, step: int, cost_s: float) -> None:
        """Records that `step` was sampled, at a cost of `cost_s` seconds."""
        self._cost_s = cost_s if self._last_sample == 0 else (1 - SMOOTHING) * self._cost_s + SMOOTHING * cost_s
        self._last_sample = step


def _alignment(gap: int) -> int:
    """The largest power of two up to a gap between samples.

    Processes that sample at multiples of such powers meet at those of the largest one, without asking each other: where one affords
    a sample every 5 steps and another every 9, they sample multiples of 4 and of 8.
    """
    return 1 << (gap.bit_length() - 1)


def _is_doubling(step: int) -> bool:
    """Whether `step` is FIRST_STEPS times a power of two."""
    factor, remainder = divmod(step, FIRST_STEPS)
    return remainder == 0 and factor & (factor - 1) == 0
