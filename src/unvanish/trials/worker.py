"""The process of one trial: `python -m unvanish.trials.worker JOB.json [PIPE]` runs the script and ends with its exit code.

PIPE is the number of an open file from which the goals come; without it the script runs to its end.

It imports neither torch nor numpy before the script does, and writes nothing outside the trial's folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from unvanish import observe, trials
from unvanish.trials.gate import Gate
from unvanish.trials.script import execute
from unvanish.trials.trial import load_job


def main(job: Path, pipe: int | None) -> int:
    """The exit code of the trial's script, which ran in this process."""
    trial, gate = load_job(job), Gate(pipe)
    watches: list[trials.Watching] = []
    forget = trials.when_imported("torch", lambda: watches.append(trials.Watching(trial, gate)))
    try:
        with trials.shift_seeds(trial.seed):
            ending = execute(trial.script, edits=dict(trial.edits), stop=(observe.StopTraining,))
    finally:
        forget()
    for watch in watches:
        watch.close(ending)
    return ending.code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
