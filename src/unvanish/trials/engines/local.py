"""Runs trials as processes on this machine, a few at a time and each with the same share of the cores. It judges no result.

Every trial leads a process group of its own, so that it dies alone and takes with it what it started.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from unvanish.record.verdict import TrialResult
from unvanish.trials.outcome import Examine, result_of
from unvanish.trials.trial import PROGRESS, STDERR, STDOUT, News, Trial, save_job

POLL_S = 0.05
NEWS_EVERY_S = 0.35
GRACE_S = 2.0  # what a trial that is told to end gets before it is killed
KILOBYTE = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def run_trials(
    trials: Sequence[Trial],
    *,
    examine: Examine,
    jobs: int,
    progress: Callable[[News], None] | None = None,
) -> list[TrialResult]:
    """The results of the trials that ended, in the order given; all of them, unless Ctrl-C came after the first.

    At most `jobs` run at a time, started in order, so that neighbours in the list meet the same load on the machine.
    Raises TrialError where a trial cannot be set up; by then every process is ended.
    """
    crew = _Crew(len(trials), examine, progress)
    waiting = deque(enumerate(trials, start=1))
    try:
        while waiting or crew.running:
            while waiting and len(crew.running) < jobs:
                crew.start(*waiting.popleft())
            crew.look()
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        if not crew.results:
            raise
    finally:
        crew.dismiss()
    return [result for _, result in sorted(crew.results.items())]


@dataclass(slots=True)
class _Child:
    """A trial under way, and the last that was heard of it."""

    trial: Trial
    number: int
    process: subprocess.Popen[bytes]
    heard: tuple[int, float] = (0, math.nan)


class _Crew:
    """Owner of the running processes and of the results so far."""

    def __init__(self, total: int, examine: Examine, progress: Callable[[News], None] | None) -> None:
        self._total, self._examine, self._progress = total, examine, progress
        self._last_news_s = 0.0
        self.running: list[_Child] = []
        self.results: dict[int, TrialResult] = {}

    def start(self, number: int, trial: Trial) -> None:
        """Starts a trial."""
        job = save_job(trial)
        threads = dict.fromkeys(_THREAD_VARIABLES, str(trial.threads))
        with (trial.folder / STDOUT).open("wb") as output, (trial.folder / STDERR).open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "unvanish.trials.worker", str(job)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                # The order of sets of strings is random in each process, unless the trials of one seed agree on it.
                env={"PYTHONHASHSEED": str(trial.seed), **os.environ, **threads},
            )
        child = _Child(trial, number, process)
        self.running.append(child)
        self._tell(child)

    def look(self) -> None:
        """Takes in the trials that have ended, and now and then tells how far the others are."""
        for child in list(self.running):
            pid, status, usage = os.wait4(child.process.pid, os.WNOHANG)
            if pid:
                self.running.remove(child)
                self._ended(child, os.waitstatus_to_exitcode(status), usage.ru_maxrss * KILOBYTE)
        now = time.monotonic()
        if now - self._last_news_s >= NEWS_EVERY_S:
            self._last_news_s = now
            for child in self.running:
                heard = _hear(child)
                if heard[0] != child.heard[0]:
                    child.heard = heard
                    self._tell(child)

    def dismiss(self) -> None:
        """Ends what still runs, gently first."""
        for child in self.running:
            _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        for child in self.running:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
        for child in self.running:
            _signal_group(child, signal.SIGKILL)
            child.process.wait()
        self.running.clear()

    def _ended(self, child: _Child, exit_code: int, memory_bytes: int) -> None:
        child.process.returncode = exit_code
        _signal_group(child, signal.SIGKILL)  # worker processes that the script left behind
        result = result_of(child.trial, exit_code=exit_code, memory_bytes=memory_bytes, examine=self._examine)
        self.results[child.number] = result
        child.heard = (result.steps, result.final_loss)
        self._tell(child, result)

    def _tell(self, child: _Child, result: TrialResult | None = None) -> None:
        if self._progress is not None:
            self._progress(News(child.trial, child.number, self._total, *child.heard, result))


def _hear(child: _Child) -> tuple[int, float]:
    """Step and loss from the trial's progress file; what was last heard where there is none yet."""
    try:
        step, loss = (child.trial.folder / PROGRESS).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return child.heard
    return int(step), float(loss)


def _signal_group(child: _Child, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)
