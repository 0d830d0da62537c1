"""How far the candidates of a race run before the weaker ones are stopped, as pure arithmetic.

Successive halving (Jamieson and Talwalkar, 2016, arXiv 1502.07943): at each rung the better half goes on to three times the steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GROWTH = 3  # of the steps from rung to rung
RUNGS = 3  # with the end of the training as the last
FEWEST_STEPS = 10  # a comparison after fewer steps would say nothing


@dataclass(frozen=True, slots=True)
class Rungs:
    """The steps at which candidates wait to be compared, lowest first; the end of the training comes after them."""

    steps: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of rungs with the end of the training."""
        return len(self.steps) + 1

    def reached(self, steps: int, *, ended: bool) -> int:
        """How many rungs a trial with so many steps has reached."""
        return self.count if ended else sum(steps >= rung for rung in self.steps)


def rungs_for(total_steps: int, candidates: int, *, keep: int) -> Rungs:
    """The rungs for a training of so many steps; none where all candidates are kept, or the training is too short.

    Example:
        >>> rungs_for(900, candidates=6, keep=2)
        Rungs(steps=(100, 300))
    """
    if candidates <= keep:
        return Rungs(())
    steps = [math.ceil(total_steps / GROWTH**power) for power in range(RUNGS - 1, 0, -1)]
    return Rungs(tuple(step for step in steps if step >= FEWEST_STEPS))


def survivors(running: int, *, keep: int) -> int:
    """How many of those that run go on from a rung: the better half, and never fewer than are kept to the end."""
    return max(keep, math.ceil(running / 2))
