"""Entry point of a trial's process: `python -m unvanish.trials.worker JOB.json [PIPE]` runs the script and ends with its exit code.

PIPE is the number of an open file from which the goals come; without it the script runs to its end. Neither torch nor numpy is
imported before the script imports it, and nothing is written outside the trial's folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish import observe, trials
from unvanish.import_hooks import when_imported
from unvanish.trials.isolation.mirror import Mirror
from unvanish.trials.isolation.muted_services import muting_services
from unvanish.trials.isolation.workplace import load_workplace, put_edits, restore_user_paths, script_in_workplace
from unvanish.trials.isolation.write_barrier import forbid_other_writes, writable_folders
from unvanish.trials.isolation.writes import track_writes
from unvanish.trials.metrics.tracker_patches import watching_trackers
from unvanish.trials.pause_gate import ABANDONED_EXIT_CODE, StepGate
from unvanish.trials.script.execution import ScriptExit, execute
from unvanish.trials.script.process_exit import IDLE_TIMEOUT_S, IdleTimeout, exit_process, intercept_os_exit
from unvanish.trials.script.tracebacks import flush_output
from unvanish.trials.trial import WRITES_FILE, Trial, load_job

if TYPE_CHECKING:
    from unvanish.observe.structure.model_index import ModelIndex


def main(job: Path, pipe: int | None) -> int:
    """The exit code of the trial's script, which ran in this process; `pipe` is the file descriptor of the goals."""
    trial, gate = replace(load_job(job), folder=job.parent), StepGate(pipe)
    mirror = load_workplace(trial.folder)
    cwd = Path.cwd() if mirror is None else mirror.to_original(Path.cwd())
    watches: list[trials.WatchedTrial] = []  # one from the import of torch on
    if mirror is not None:
        put_edits(mirror, {cwd / path: text for path, text in trial.edits})
    cancel_wait = when_imported("torch", lambda: watches.append(trials.WatchedTrial(trial, gate)))
    idle = IdleTimeout(IDLE_TIMEOUT_S)

    def log_metrics(metrics: Mapping[str, float]) -> None:
        for watch in watches:
            watch.log_metrics(metrics)

    try:
        with (
            watching_trackers(log_metrics),
            trials.following(_follow_order(trial), lambda: _release(watches, cancel_wait)),
            _seeds_and_writes(trial, mirror, cwd),
            intercept_os_exit(lambda code: _on_os_exit(watches, mirror, code)),
        ):
            ending = execute(
                script_in_workplace(mirror, trial.script, cwd),
                edits={cwd / path: text for path, text in trial.edits},
                mirror=mirror,
                stop_exceptions=(observe.StopTraining,),
                stop_waiting=lambda: idle.is_expired([watch.step for watch in watches]),
            )
    finally:
        cancel_wait()
    ending = _complete_record(watches, ending)
    return _merge_processes(trial, mirror, ending)


def _follow_order(trial: Trial) -> trials.FollowOrder:
    """What the processes are told that the script starts."""
    folder, name = str(trial.folder.resolve()), trial.script.name
    return trials.FollowOrder(folder, name, trial.script.arguments, max_steps=trial.max_steps, trial=folder)


def _release(watches: list[trials.WatchedTrial], cancel_wait: Callable[[], None]) -> ModelIndex | None:
    """Withdraws the observation in a process that the script has forked."""
    cancel_wait()
    return watches.pop().release() if watches else None


def _merge_processes(trial: Trial, mirror: Mirror | None, ending: ScriptExit) -> int:
    """The exit code, once the records of the processes that the script started are merged into the trial's.

    Where no mirror could be made, these have run the script without the trial's edit, which must not pass for a result.
    """
    from unvanish.examination import with_prediction
    from unvanish.trials.children.merged_records import merge_records

    merged = merge_records(
        trial.folder, complete=with_prediction, restore_paths=lambda text: restore_user_paths(trial.folder, text)
    )
    if merged is not None and mirror is None and trial.edits:
        reason = "the processes that the script starts have not run the edit: its folder could not be copied"
        print(f"unvanish: {reason}", file=sys.stderr)
        return 1
    return ending.code


@contextmanager
def _seeds_and_writes(trial: Trial, mirror: Mirror | None, cwd: Path) -> Generator[None]:
    """A context in which the script's seeds are shifted, and what it writes goes to its mirror where it has one.

    The process cannot write anywhere else from then on, where the kernel can see to that.
    """
    with trials.shift_seeds(trial.seed):
        if not trial.isolated:
            yield
            return
        path, log = trial.script.path, trial.folder / WRITES_FILE
        user_folders = (cwd, *([(cwd / path).resolve().parent] if path is not None else []), Path.home())
        if mirror is None:
            with track_writes(log, None, user_folders=user_folders):
                yield
            return
        compiled = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", mirror.temporary))
        writable = writable_folders((trial.folder, mirror.root.parent, compiled), user_folders)
        forbid_other_writes(writable)
        with muting_services(mirror.temporary), track_writes(log, mirror, user_folders=user_folders, writable=writable):
            yield


def _on_os_exit(watches: list[trials.WatchedTrial], mirror: Mirror | None, code: int) -> None:
    """Completes the record before `os._exit`; where the race is gone, no other process is left to remove the mirror."""
    _complete_record(watches, ScriptExit(code, "exited"))
    flush_output()
    if mirror is not None and code == ABANDONED_EXIT_CODE:
        mirror.remove()


def _complete_record(watches: list[trials.WatchedTrial], ending: ScriptExit) -> ScriptExit:
    """How the script ended, once its record is complete. A script that made its last step counts as stopped, even if it went on."""
    if any(watch.has_finished for watch in watches):
        ending = ScriptExit(0, "stopped")
    for watch in watches:
        watch.close(ending)
    return ending


if __name__ == "__main__":
    exit_process(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
