"""Runs trials as processes on this machine, a few at a time.

Trials of a round run under the same load. A paused trial keeps its memory; where too little is left to start another, the one that
has waited longest is ended, and starts anew when its turn comes."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import final

from unvanish.record.races.verdict import TrialResult
from unvanish.trials.engines.engine import Goal
from unvanish.trials.engines.polling_engine import OnEvent, PollingEngine
from unvanish.trials.machine_resources import available_memory_bytes, usable_cores
from unvanish.trials.process import TrialProcess
from unvanish.trials.trial import Trial, TrialState
from unvanish.trials.trial_result import Examine, read_result

POLL_S = 0.02
EVENT_INTERVAL_S = 0.35  # between two events of running trials
GRACE_S = 2.0  # between SIGTERM and SIGKILL
MEMORY_RESERVE = 0.1  # share of the free memory that is left to other programs


def run_trials(
    trials: Sequence[Trial], *, examine: Examine, jobs: int, on_event: OnEvent | None = None, max_bytes: int | None = None
) -> list[TrialResult]:
    """The results of the trials that ended, in the order given; all of them, unless Ctrl-C came after the first."""
    with LocalEngine(examine=examine, jobs=jobs, on_event=on_event, max_bytes=max_bytes) as engine:
        return engine.advance([(trial, None) for trial in trials])


@final
class LocalEngine(PollingEngine[TrialProcess]):
    """Owner of the processes of a race on this machine.

    Arguments:
        examine: gives the findings of a trial's run.
        jobs: how many trials run at a time. By default as many as the cores have room for; one until the first trial has reported
            its number of threads. A trial computes with as many threads as the script does alone, since their number can change the
            last bit of a sum.
        on_event: called with the events of the trials.
        max_bytes: bound on the memory of all trials; None for what is free.
        deadline: a time of `time.monotonic` after which no trial continues.
    """

    name = "local"

    def __init__(
        self,
        *,
        examine: Examine,
        jobs: int | None = None,
        on_event: OnEvent | None = None,
        max_bytes: int | None = None,
        deadline: float = math.inf,
    ) -> None:
        super().__init__(on_event=on_event, deadline=deadline)
        self._examine, self._jobs, self._max_bytes = examine, jobs, max_bytes
        self._threads = usable_cores()  # of one trial
        self._largest_bytes = 0  # of a trial so far
        self._last_event_s = 0.0

    @property
    def capacity(self) -> int:
        """How many trials run at a time."""
        return self._jobs or max(1, usable_cores() // self._threads)

    def close(self) -> None:
        """Ends all trials, running ones by SIGTERM first."""
        self._end_all()

    def _step(self, waiting: deque[Goal]) -> None:
        while waiting and len(self._running) < self.capacity and self._has_memory(waiting[0][0]):
            self._start(*waiting.popleft())
        self._poll()
        time.sleep(POLL_S)

    def _end_paused(self, handle: TrialProcess) -> None:
        handle.kill()

    def _end_all(self) -> None:
        for process in self._running:
            process.terminate()
        deadline = time.monotonic() + GRACE_S
        for process in self._paused.values():
            process.kill()
        for process in self._running:
            process.kill(max(0.0, deadline - time.monotonic()))
        self._paused.clear()
        self._running.clear()

    def _start(self, trial: Trial, goal: int | None) -> None:
        process = self._paused.pop(trial, None)
        if process is None:
            process = TrialProcess(trial, goal)
        else:
            process.resume(goal)
        self._running.append(process)
        self._notify(process, TrialState.RUNNING)

    def _has_memory(self, trial: Trial) -> bool:
        """Whether there is memory for one more, freed if need be by ending a paused one; the first always has."""
        if trial in self._paused:
            return True
        while not self._fits():
            if self._running or not self._paused:
                return not self._running
            longest_paused = next(iter(self._paused))
            self._paused.pop(longest_paused).kill()
        return True

    def _fits(self) -> bool:
        needed = self._largest_bytes
        if self._max_bytes is not None:
            used = sum(process.progress.memory_bytes or needed for process in (*self._paused.values(), *self._running))
            return used + needed <= self._max_bytes
        return needed <= available_memory_bytes() * (1.0 - MEMORY_RESERVE)

    def _poll(self) -> None:
        """Handles trials that have paused or ended, and now and then reports the progress of the others."""
        now = time.monotonic()
        is_event_due = now - self._last_event_s >= EVENT_INTERVAL_S
        if is_event_due:
            self._last_event_s = now
        for process in list(self._running):
            has_changed = process.poll()
            self._largest_bytes = max(self._largest_bytes, process.progress.memory_bytes)
            self._threads = process.progress.threads or self._threads
            if process.is_paused or process.exit_code is not None:
                self._running.remove(process)
                self._on_goal_or_end(process)
            elif has_changed and is_event_due:
                self._notify(process, TrialState.RUNNING)

    def _on_goal_or_end(self, process: TrialProcess) -> None:
        memory, is_paused = process.progress.memory_bytes, process.exit_code is None
        result = read_result(process.trial, exit_code=process.exit_code, memory_bytes=memory, examine=self._examine)
        self._results[process.trial] = result
        if is_paused:
            self._paused[process.trial] = process
        self._notify(process, TrialState.PAUSED if is_paused else TrialState.ENDED, result)
