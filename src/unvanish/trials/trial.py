"""One trial as data: what to run, with which remedies and seed, and where its files go. It runs nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from unvanish.errors import TrialError
from unvanish.record.serialisation import from_plain, to_plain
from unvanish.record.verdict import TrialResult
from unvanish.trials.script.execution import Script

JOB, RUN, STDOUT, STDERR, PROGRESS = "job.json", "run.sqlite", "stdout.txt", "stderr.txt", "progress.txt"
WRITES = "writes.jsonl"


@dataclass(frozen=True, slots=True)
class Trial:
    """A script with one candidate and one seed. `remedies` is empty for the control; `variant` tells apart candidates of equal
    remedies, such as "x0.1" for a learning rate.

    `edits` are pairs of a file and the text that replaces it in memory. `folder` holds all that the trial writes. `cwd` is where it
    runs, by default where we do. `look` names a function, "module:name", that is given what the first step saw and the trial,
    in place of the exact look; `candidates` are what it plans. A trial that runs `apart` works in a mirror of the user's folders,
    and writes to none of his files.
    """

    script: Script
    remedies: tuple[str, ...]
    seed: int
    folder: Path
    edits: tuple[tuple[Path, str], ...] = ()
    max_steps: int | None = None
    variant: str = ""
    cwd: Path | None = None
    look: str = ""
    candidates: tuple[tuple[str, ...], ...] = ()
    apart: bool = False

    @property
    def name(self) -> str:
        """The remedies as people write them, with the variant; "as it is" for the control."""
        return f"{' + '.join(self.remedies) or 'as it is'} {self.variant}".rstrip()


class State(StrEnum):
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
    state: State
    step: int
    loss: float
    goal: int | None = None
    result: TrialResult | None = None


def save_job(trial: Trial) -> Path:
    """The file that tells a worker what to do, in the trial's folder, which is made.

    What an earlier run of the same trial left there is taken away. Raises TrialError where the folder cannot be written.
    """
    path = trial.folder / JOB
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
