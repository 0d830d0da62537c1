"""One trial as data: what to run, with which remedies and seed, and where its files go. It runs nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from unvanish.errors import TrialError
from unvanish.record.document import from_plain, to_plain
from unvanish.record.verdict import TrialResult
from unvanish.trials.script import Script

JOB, RUN, STDOUT, STDERR, PROGRESS = "job.json", "run.sqlite", "stdout.txt", "stderr.txt", "progress.txt"


@dataclass(frozen=True, slots=True)
class Trial:
    """A script with one candidate and one seed. `remedies` is empty for the control.

    `edits` are pairs of a file and the text that replaces it in memory. `folder` holds all that the trial writes.
    """

    script: Script
    remedies: tuple[str, ...]
    seed: int
    folder: Path
    edits: tuple[tuple[Path, str], ...] = ()
    max_steps: int | None = None
    threads: int = 1

    @property
    def name(self) -> str:
        """The remedies as people write them; "as it is" for the control."""
        return " + ".join(self.remedies) or "as it is"


@dataclass(frozen=True, slots=True)
class News:
    """What is known of a trial under way, the `number`-th (from 1) of `total`. `result` is there when it has ended.

    `loss` is that of the last step, NaN before the first.
    """

    trial: Trial
    number: int
    total: int
    step: int
    loss: float
    result: TrialResult | None = None


def save_job(trial: Trial) -> Path:
    """The file that tells a worker what to do, in the trial's folder, which is made.

    Raises TrialError where the folder cannot be written.
    """
    path = trial.folder / JOB
    try:
        trial.folder.mkdir(parents=True)
        path.write_text(json.dumps(to_plain(trial), default=str), encoding="utf-8")
    except OSError as fault:
        raise TrialError(
            f"{trial.folder}: a trial cannot keep its files there ({fault}); choose another folder with --out"
        ) from fault
    return path


def load_job(path: Path) -> Trial:
    """The trial that `save_job` wrote. Raises RecordError where the file holds something else."""
    return from_plain(Trial, json.loads(path.read_text(encoding="utf-8")))
