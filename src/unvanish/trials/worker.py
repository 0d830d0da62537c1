"""The process of one trial: `python -m unvanish.trials.worker JOB.json [PIPE]` runs the script and ends with its exit code.

PIPE is the number of an open file from which the goals come; without it the script runs to its end.

It imports neither torch nor numpy before the script does, and writes nothing outside the trial's folder.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from unvanish import observe, trials
from unvanish.trials.isolation.mirror import Mirror
from unvanish.trials.isolation.workplace import script_in, workplace_in
from unvanish.trials.isolation.writes import noticing_writes
from unvanish.trials.metrics.trackers import watching_trackers
from unvanish.trials.script.execution import Ending, execute
from unvanish.trials.script.process_exit import PATIENCE_S, IdleTimeout, hard_exits_told, leave
from unvanish.trials.step_gate import ABANDONED, Gate
from unvanish.trials.trial import WRITES, Trial, load_job


def main(job: Path, pipe: int | None) -> int:
    """The exit code of the trial's script, which ran in this process."""
    trial, gate = replace(load_job(job), folder=job.parent), Gate(pipe)
    mirror = workplace_in(trial.folder)
    cwd = Path.cwd() if mirror is None else mirror.original(Path.cwd())
    watches: list[trials.WatchedTrial] = []
    forget = trials.when_imported("torch", lambda: watches.append(trials.WatchedTrial(trial, gate)))
    patience = IdleTimeout(PATIENCE_S)

    def note(metrics: Mapping[str, float]) -> None:
        for watch in watches:
            watch.note(metrics)

    try:
        with (
            watching_trackers(note),
            _surroundings(trial, mirror, cwd),
            hard_exits_told(lambda code: _leaves(watches, mirror, code)),
        ):
            ending = execute(
                script_in(mirror, trial.script, cwd),
                edits={cwd / path: text for path, text in trial.edits},
                mirror=mirror,
                stop=(observe.StopTraining,),
                enough=lambda: patience.ended([watch.step for watch in watches]),
            )
    finally:
        forget()
    return _conclude(watches, ending).code


@contextmanager
def _surroundings(trial: Trial, mirror: Mirror | None, cwd: Path) -> Generator[None]:
    """What is between the script and the world: its seeds are shifted, and where it works apart, what it writes is kept apart."""
    with trials.shift_seeds(trial.seed):
        if not trial.apart:
            yield
            return
        path = trial.script.path
        ground = (cwd, *([(cwd / path).resolve().parent] if path is not None else []))
        with noticing_writes(trial.folder / WRITES, mirror, ground=ground):
            yield


def _leaves(watches: list[trials.WatchedTrial], mirror: Mirror | None, code: int) -> None:
    """The process is about to end without the script's return. Nobody else is left to clear up where the race is gone."""
    _conclude(watches, Ending(code, "exited"))
    if mirror is not None and code == ABANDONED:
        mirror.clear()


def _conclude(watches: list[trials.WatchedTrial], ending: Ending) -> Ending:
    """How the script ended, with the record complete. One that made its last step was stopped, whatever it did about that."""
    if any(watch.stopped for watch in watches):
        ending = Ending(0, "stopped")
    for watch in watches:
        watch.close(ending)
    return ending


if __name__ == "__main__":
    leave(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
