"""Settings of an observer, its progress report, and the exception that ends a script after the last step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of an observer.

    `budget` is the share of wall time that observing may take (0.01: one per cent); `every` samples each n-th step
    whatever it costs; `max_steps` ends the script after so many steps. `is_one_of_many`: other processes train the same network, so
    the steps are chosen such that most of them are the same ones everywhere.
    """

    budget: float = 0.01
    every: int | None = None
    max_steps: int | None = None
    is_one_of_many: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: the last step, its loss, and the observer's share of the wall time so far, 0..1."""

    step: int
    loss: float
    own_share: float


class StopTraining(BaseException):
    """Raised inside the optimizer's step when `max_steps` is reached; where weights are updated by hand, as the next step
    begins. Not an Exception, so that a script's own `except Exception` lets it through."""
