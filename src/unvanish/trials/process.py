"""Starts the process of one trial on this machine, sends it its goals, polls it and ends it.

The process leads a group of its own, so that ending it also ends what it started."""

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

from unvanish.trials.isolation.muted_services import trial_variables
from unvanish.trials.isolation.workplace import create_workplace, working_directory
from unvanish.trials.output_files import limit_size
from unvanish.trials.pause_gate import encode_goal
from unvanish.trials.peak_memory import MAXRSS_BYTES
from unvanish.trials.progress import TrialProgress, read_progress
from unvanish.trials.trial import PROGRESS_FILE, STDERR_FILE, STDOUT_FILE, Trial, save_job


@final
class TrialProcess:
    """The process of a trial.

    Arguments:
        trial: what is run.
        goal: the training step at which it pauses first; None for the script's own end.
        environment: the variables of the process.

    `progress` and `exit_code` are as of the last `poll`: the exit code is None while the process runs, negative for a signal.
    Raises TrialError where the trial's folder cannot be written.
    """

    def __init__(self, trial: Trial, goal: int | None, *, environment: Mapping[str, str] = os.environ) -> None:
        """Starts the process."""
        self.trial, self.goal = trial, goal
        self.progress = TrialProgress()
        self.exit_code: int | None = None
        job, cwd = save_job(trial), trial.cwd or Path.cwd()
        self._mirror = create_workplace(trial.folder, trial.script, cwd) if trial.isolated else None
        goals, self._goal_pipe = os.pipe()
        try:
            with (trial.folder / STDOUT_FILE).open("ab") as output, (trial.folder / STDERR_FILE).open("ab") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "unvanish.trials.worker", str(job.resolve()), str(goals)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,
                    pass_fds=(goals,),
                    cwd=working_directory(self._mirror, cwd),
                    env=self._variables(environment),
                )
        finally:
            os.close(goals)
        self._send_goal(goal)

    @property
    def process_group(self) -> int:
        """The id of its process group."""
        return self._process.pid

    @property
    def is_paused(self) -> bool:
        """Whether it waits at its goal."""
        return self.exit_code is None and self.progress.is_paused and self.goal is not None and self.progress.step >= self.goal

    def resume(self, goal: int | None) -> None:
        """Lets a paused trial continue to another step, or to its end (None)."""
        self.goal = goal
        self._send_goal(goal)

    def poll(self) -> bool:
        """Updates `progress` and `exit_code`; whether anything changed. Output files that have grown too large are cut."""
        pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if pid:
            self._on_exit(os.waitstatus_to_exitcode(status), usage.ru_maxrss * MAXRSS_BYTES)
            return True
        for name in (STDOUT_FILE, STDERR_FILE):
            limit_size(self.trial.folder / name)
        latest = read_progress(self.trial.folder / PROGRESS_FILE) or self.progress
        has_changed, self.progress = latest != self.progress, latest
        return has_changed

    def terminate(self) -> None:
        """Sends SIGTERM to its process group."""
        self._signal(signal.SIGTERM)

    def kill(self, grace_s: float = 0.0) -> None:
        """Waits up to `grace_s` seconds for its end, then kills its process group."""
        if self.exit_code is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
            self._signal(signal.SIGKILL)
            self.exit_code = self._process.wait()
        self._release()

    def _on_exit(self, exit_code: int, memory_bytes: int) -> None:
        self.exit_code = self._process.returncode = exit_code
        latest = read_progress(self.trial.folder / PROGRESS_FILE) or self.progress
        self.progress = replace(latest, is_paused=False, memory_bytes=memory_bytes)
        self._signal(signal.SIGKILL)  # worker processes that the script left behind
        self._release()

    def _send_goal(self, goal: int | None) -> None:
        with suppress(BrokenPipeError):  # it has just died: the next `poll` finds that
            os.write(self._goal_pipe, encode_goal(goal))

    def _variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        # The order of sets of strings is random in each process, unless the trials of one seed agree on it.
        variables = {"PYTHONHASHSEED": str(self.trial.seed), "MPLBACKEND": "Agg", **environment}  # nobody looks at a window
        return variables if self._mirror is None else trial_variables(self._mirror.temporary, variables)

    def _release(self) -> None:
        """Closes the pipe and removes the mirror."""
        if self._goal_pipe >= 0:
            os.close(self._goal_pipe)
            self._goal_pipe = -1
        if self._mirror is not None:
            self._mirror.remove()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
