"""One trial as data: what to run, with which candidate and seed, and where its files go; and events that report its progress."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from unvanish.errors import TrialError
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import TrialResult
from unvanish.record.storage.serialisation import from_plain, to_plain
from unvanish.trials.script.execution import Script

JOB_FILE, STDOUT_FILE, STDERR_FILE, PROGRESS_FILE = "job.json", "stdout.txt", "stderr.txt", "progress.txt"
WRITES_FILE = "writes.jsonl"


@dataclass(frozen=True, slots=True)
class Trial:
    """A script with one candidate and one seed.

    Arguments:
        script: what is run, with its arguments.
        candidate: what is tried; CONTROL for the script as it is.
        seed: by how much the seeds that the script sets are shifted.
        folder: holds all that the trial writes.
        edits: pairs of a file and the text that replaces it in memory.
        max_steps: ends the script after so many training steps.
        cwd: the folder in which it runs, by default the current one.
        first_step_function: names a function, "module:name", that is called with the first training step and the trial, in place
            of the trace of the gradient.
        combinations: the combinations of remedies that `first_step_function` plans.
        isolated: run in a mirror of the user's folders, so that none of the user's files is written.
    """

    script: Script
    candidate: Candidate
    seed: int
    folder: Path
    edits: tuple[tuple[Path, str], ...] = ()
    max_steps: int | None = None
    cwd: Path | None = None
    first_step_function: str = ""
    combinations: tuple[tuple[str, ...], ...] = ()
    isolated: bool = False

    @property
    def name(self) -> str:
        """The candidate as people write it; "as it is" for the control."""
        return self.candidate.name or "as it is"


class TrialState(StrEnum):
    """Where a trial stands."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class TrialEvent:
    """What is known of a trial. `step` and `loss` are those of its last step, the loss NaN before the first.

    `goal` is the step that it is to reach in this round (None: its own end). `result` is there when it has paused or ended.
    """

    trial: Trial
    state: TrialState
    step: int
    loss: float
    goal: int | None = None
    result: TrialResult | None = None


def save_job(trial: Trial) -> Path:
    """The file that tells a worker what to do, in the trial's folder, which is made.

    What an earlier run of the same trial left there is taken away. Raises TrialError where the folder cannot be written.
    """
    path = trial.folder / JOB_FILE
    try:
        if path.is_file():
            shutil.rmtree(trial.folder)
        trial.folder.mkdir(parents=True)
        path.write_text(job_text(trial), encoding="utf-8")
    except OSError as fault:
        raise TrialError(
            f"{trial.folder}: a trial cannot keep its files there ({fault}); choose another folder with --out"
        ) from fault
    return path


def job_text(trial: Trial) -> str:
    """A trial as text, equal for equal trials."""
    return json.dumps(to_plain(trial), default=str)


def load_job(path: Path) -> Trial:
    """The trial that `save_job` wrote. Raises RecordError where the file holds something else."""
    return from_plain(Trial, json.loads(path.read_text(encoding="utf-8")))
