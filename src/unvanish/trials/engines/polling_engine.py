"""What engines have in common that hold one handle per trial and poll them: the loop of a round, Ctrl-C, the deadline, events."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from unvanish.record.races.verdict import TrialResult
from unvanish.trials.engines.engine import Engine, Goal
from unvanish.trials.progress import TrialProgress
from unvanish.trials.trial import Trial, TrialEvent, TrialState

OnEvent = Callable[[TrialEvent], None]


class TrialHandle(Protocol):
    """A trial under way: what it is, its present goal, and its latest known progress."""

    trial: Trial
    goal: int | None
    progress: TrialProgress


Handle = TypeVar("Handle", bound=TrialHandle)


class PollingEngine(Engine, Generic[Handle]):
    """An engine whose subclass starts, polls and ends trials by a handle of its own; the handles are kept here."""

    def __init__(self, *, on_event: OnEvent | None, deadline: float = math.inf) -> None:
        self._on_event, self._deadline = on_event, deadline
        self._running: list[Handle] = []
        self._paused: dict[Trial, Handle] = {}  # the one that has waited longest first
        self._results: dict[Trial, TrialResult] = {}  # of the present round

    def advance(self, goals: Sequence[Goal]) -> list[TrialResult]:
        """The results of the trials at their goals; see Engine."""
        waiting = deque(goals)
        self._results.clear()
        try:
            while (waiting or self._running) and time.monotonic() < self._deadline:
                self._step(waiting)
        except KeyboardInterrupt:
            self._end_all()
            if not self._results:
                raise
        except BaseException:
            self._end_all()
            raise
        if self._running:
            self._end_all()
        return [self._results[trial] for trial, _ in goals if trial in self._results]

    def stop(self, trials: Sequence[Trial]) -> None:
        """Ends paused trials; see Engine."""
        for trial in trials:
            handle = self._paused.pop(trial, None)
            if handle is not None:
                self._end_paused(handle)
                self._notify(handle, TrialState.STOPPED)

    @abstractmethod
    def _step(self, waiting: deque[Goal]) -> None:
        """Starts those of the waiting trials that there is room for, and handles what has happened to running ones."""

    @abstractmethod
    def _end_paused(self, handle: Handle) -> None:
        """Ends a paused trial, which is no longer listed."""

    @abstractmethod
    def _end_all(self) -> None:
        """Ends all running and paused trials."""

    def _notify(self, handle: Handle, state: TrialState, result: TrialResult | None = None) -> None:
        if self._on_event is None:
            return
        progress = handle.progress
        step, loss = (result.steps, result.final_loss) if result is not None else (progress.step, progress.loss)
        self._on_event(TrialEvent(handle.trial, state, step, loss, handle.goal, result))
