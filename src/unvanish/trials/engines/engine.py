"""What an engine is: it runs trials side by side as far as it is told, and keeps those that pause. It decides nothing about them.

A race asks for rounds. In each, some trials start or go on, up to a step or to their end; the results come back when all of them
have paused or ended. So that nothing is trained twice, a paused trial waits in its process for the next round.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from unvanish.record.verdict import TrialResult
from unvanish.trials.trial import Trial, TrialEvent
from unvanish.trials.trial_result import Examine

Goal = tuple[Trial, int | None]
"""A trial, and the step that it is to reach (None: its own end)."""


class Engine(ABC):
    """Owner of trials under way; a context manager, which ends all that still runs."""

    name: str
    """What people call it: "local", "ray"."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many trials run at a time."""

    @abstractmethod
    def advance(self, goals: Sequence[Goal]) -> list[TrialResult]:
        """The results of the trials as they stand at their goals, in the order given; `paused` ones can be advanced again.

        A trial that was not begun is begun; one whose process was lost runs from its start again. What goes wrong in a trial is
        in its result. On Ctrl-C the results so far come back, fewer than goals. Raises TrialError where a trial cannot be set
        up.
        """

    @abstractmethod
    def stop(self, trials: Sequence[Trial]) -> None:
        """Ends paused trials; nothing happens to others."""

    @abstractmethod
    def close(self) -> None:
        """Ends all that still runs. Calling it again does nothing more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is engaged on. `examine` gives the findings of a trial's run, `jobs` is how many trials run at a time (None:
    as the engine sees fit), `progress` is told of every trial, after `deadline`, a time of `time.monotonic`, nothing goes on,
    `address` is where a cluster is."""

    examine: Examine
    jobs: int | None = None
    progress: Callable[[TrialEvent], None] | None = None
    deadline: float = math.inf
    address: str | None = None


@dataclass(frozen=True, slots=True)
class EngineKind:
    """An engine as a person chooses it: its name in kebab-case, one line that says what it does, and how it is engaged.

    `engage` raises UsageError where it cannot be, saying what to install or to start.
    """

    name: str
    summary: str
    engage: Callable[[EngineOptions], Engine]
