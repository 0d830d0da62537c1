"""One trial's process on this machine: started, told how far to go, listened to, ended. It reads no result.

The process leads a group of its own, so that it dies alone and takes with it what it started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import final

from unvanish.trials.isolation.workplace import set_up, working_folder
from unvanish.trials.output_files import curb
from unvanish.trials.progress import KILOBYTE, TrialProgress, read_progress
from unvanish.trials.step_gate import spelt
from unvanish.trials.trial import PROGRESS, STDERR, STDOUT, Trial, save_job


@final
class TrialProcess:
    """A trial under way. `exit_code` is None while it lives, negative for a signal; `at` is the last that was heard of it."""

    def __init__(self, trial: Trial, goal: int | None, *, environment: Mapping[str, str] = os.environ) -> None:
        """Starts the trial, with the variables of `environment`. Raises TrialError where its folder cannot be written."""
        self.trial, self.goal = trial, goal
        self.at = TrialProgress()
        self.exit_code: int | None = None
        job, cwd = save_job(trial), trial.cwd or Path.cwd()
        self._mirror = set_up(trial.folder, trial.script, cwd) if trial.apart else None
        reading, self._pen = os.pipe()
        try:
            with (trial.folder / STDOUT).open("ab") as output, (trial.folder / STDERR).open("ab") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "unvanish.trials.worker", str(job.resolve()), str(reading)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,
                    pass_fds=(reading,),
                    cwd=working_folder(self._mirror, cwd),
                    # The order of sets of strings is random in each process, unless the trials of one seed agree on it.
                    env={"PYTHONHASHSEED": str(trial.seed), "MPLBACKEND": "Agg", **environment},  # nobody looks at a window
                )
        finally:
            os.close(reading)
        self._tell(goal)

    @property
    def group(self) -> int:
        """The number of its process group."""
        return self._process.pid

    @property
    def paused(self) -> bool:
        """Whether it waits at its goal."""
        return self.exit_code is None and self.at.paused and self.goal is not None and self.at.step >= self.goal

    def go_on(self, goal: int | None) -> None:
        """Has a trial that waits go on, to another step or to its end."""
        self.goal = goal
        self._tell(goal)

    def look(self) -> bool:
        """Takes in what became of it, and says whether there is anything new."""
        pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if pid:
            self._ended(os.waitstatus_to_exitcode(status), usage.ru_maxrss * KILOBYTE)
            return True
        for name in (STDOUT, STDERR):
            curb(self.trial.folder / name)
        heard = read_progress(self.trial.folder / PROGRESS) or self.at
        new, self.at = heard != self.at, heard
        return new

    def ask_to_end(self) -> None:
        """Tells it to end, gently."""
        self._signal(signal.SIGTERM)

    def end(self, within_s: float = 0.0) -> None:
        """Ends it, at the latest after `within_s` seconds."""
        if self.exit_code is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(within_s)
            self._signal(signal.SIGKILL)
            self.exit_code = self._process.wait()
        self._put_down()

    def _ended(self, exit_code: int, memory_bytes: int) -> None:
        self.exit_code = self._process.returncode = exit_code
        heard = read_progress(self.trial.folder / PROGRESS) or self.at
        self.at = replace(heard, paused=False, memory_bytes=memory_bytes)
        self._signal(signal.SIGKILL)  # worker processes that the script left behind
        self._put_down()

    def _tell(self, goal: int | None) -> None:
        with suppress(BrokenPipeError):  # it has just died: `look` will tell
            os.write(self._pen, spelt(goal))

    def _put_down(self) -> None:
        if self._pen >= 0:
            os.close(self._pen)
            self._pen = -1
        if self._mirror is not None:
            self._mirror.clear()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
