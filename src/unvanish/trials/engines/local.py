"""Runs trials as processes on this machine, a few at a time. It judges no result.

Neighbours in a round meet the same load. A trial that waits keeps its memory; where there is too little left to begin another, the
one that waited longest is ended, and begins again when its turn comes.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

from unvanish.record.verdict import TrialResult
from unvanish.trials.engines.engine import Engine, Goal
from unvanish.trials.process import TrialProcess
from unvanish.trials.trial import State, Trial, TrialEvent
from unvanish.trials.trial_result import Examine, result_of

POLL_S = 0.02
NEWS_EVERY_S = 0.35
GRACE_S = 2.0  # what a trial that is told to end gets before it is killed
SPARE = 0.1  # of the memory that is free, left to others

Progress = Callable[[TrialEvent], None]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that can be had without taking them from anybody; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def run_trials(
    trials: Sequence[Trial], *, examine: Examine, jobs: int, progress: Progress | None = None, max_bytes: int | None = None
) -> list[TrialResult]:
    """The results of the trials that ended, in the order given; all of them, unless Ctrl-C came after the first."""
    with LocalEngine(examine=examine, jobs=jobs, progress=progress, max_bytes=max_bytes) as engine:
        return engine.advance([(trial, None) for trial in trials])


@final
class LocalEngine(Engine):
    """Owner of the processes of a race on this machine.

    A trial computes with as many threads as the script does alone, since their number can change the last bit of a sum. By default
    as many trials run at a time as the cores have room for; before the first has told its threads, one. `max_bytes` bounds the
    memory of all trials (None: what is free), and after `deadline`, a time of `time.monotonic`, no trial goes on.
    """

    name = "local"

    def __init__(
        self,
        *,
        examine: Examine,
        jobs: int | None = None,
        progress: Progress | None = None,
        max_bytes: int | None = None,
        deadline: float = math.inf,
    ) -> None:
        self._examine, self._jobs, self._progress = examine, jobs, progress
        self._max_bytes, self._deadline = max_bytes, deadline
        self._threads = cores()  # of one trial
        self._held: dict[Trial, TrialProcess] = {}  # in the order in which they began to wait
        self._running: list[TrialProcess] = []
        self._results: dict[Trial, TrialResult] = {}
        self._largest_bytes = 0
        self._last_news_s = 0.0

    @property
    def capacity(self) -> int:
        """How many trials run at a time."""
        return self._jobs or max(1, cores() // self._threads)

    def advance(self, goals: Sequence[Goal]) -> list[TrialResult]:
        """As the engine promises."""
        waiting = deque(goals)
        self._results.clear()
        try:
            while (waiting or self._running) and time.monotonic() < self._deadline:
                while waiting and len(self._running) < self.capacity and self._has_room(waiting[0][0]):
                    self._go(*waiting.popleft())
                self._look()
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            self.close()
            if not self._results:
                raise
        except BaseException:
            self.close()
            raise
        if self._running:
            self.close()
        return [self._results[trial] for trial, _ in goals if trial in self._results]

    def stop(self, trials: Sequence[Trial]) -> None:
        """As the engine promises."""
        for trial in trials:
            held = self._held.pop(trial, None)
            if held is not None:
                held.end()
                self._tell(held, State.STOPPED)

    def close(self) -> None:
        """As the engine promises: those that run are asked first."""
        everyone = [*self._held.values(), *self._running]
        for process in self._running:
            process.ask_to_end()
        deadline = time.monotonic() + GRACE_S
        for process in everyone:
            process.end(max(0.0, deadline - time.monotonic()) if process in self._running else 0.0)
        self._held.clear()
        self._running.clear()

    def _go(self, trial: Trial, goal: int | None) -> None:
        process = self._held.pop(trial, None)
        if process is None:
            process = TrialProcess(trial, goal)
        else:
            process.go_on(goal)
        self._running.append(process)
        self._tell(process, State.RUNNING)

    def _has_room(self, trial: Trial) -> bool:
        """Whether there is memory for one more, made if need be by ending one that waits; the first always has room."""
        if trial in self._held:
            return True
        while not self._fits():
            if self._running or not self._held:
                return not self._running
            evicted = next(iter(self._held))
            self._held.pop(evicted).end()
        return True

    def _fits(self) -> bool:
        needed = self._largest_bytes
        if self._max_bytes is not None:
            taken = sum(process.at.memory_bytes or needed for process in (*self._held.values(), *self._running))
            return taken + needed <= self._max_bytes
        free = free_memory()
        return free is None or needed <= free * (1.0 - SPARE)

    def _look(self) -> None:
        """Takes in the trials that have paused or ended, and now and then tells how far the others are."""
        now = time.monotonic()
        tell = now - self._last_news_s >= NEWS_EVERY_S
        if tell:
            self._last_news_s = now
        for process in list(self._running):
            new = process.look()
            self._largest_bytes = max(self._largest_bytes, process.at.memory_bytes)
            self._threads = process.at.threads or self._threads
            if process.paused or process.exit_code is not None:
                self._running.remove(process)
                self._arrived(process)
            elif new and tell:
                self._tell(process, State.RUNNING)

    def _arrived(self, process: TrialProcess) -> None:
        paused = process.exit_code is None
        result = result_of(process.trial, exit_code=process.exit_code, memory_bytes=process.at.memory_bytes, examine=self._examine)
        self._results[process.trial] = result
        if paused:
            self._held[process.trial] = process
        self._tell(process, State.PAUSED if paused else State.ENDED, result)

    def _tell(self, process: TrialProcess, state: State, result: TrialResult | None = None) -> None:
        if self._progress is None:
            return
        step, loss = (result.steps, result.final_loss) if result is not None else (process.at.step, process.at.loss)
        self._progress(TrialEvent(process.trial, state, step, loss, process.goal, result))
