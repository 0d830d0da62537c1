"""Has a process watched that a watched script, or a launcher, has started: `sitecustomize` calls this."""

from __future__ import annotations

import atexit
import sys
from contextlib import ExitStack
from pathlib import Path

from unvanish.trials.children.environment import ChildEnvironment
from unvanish.trials.children.follow_order import FollowOrder
from unvanish.trials.children.following import ProcessFollower


def begin_at_import(text: str) -> None:
    """Waits for the end of torch's import, and then for a training; `text` is the encoded order."""
    order = FollowOrder.decode(text)
    if order.prefix != sys.prefix:
        return
    ChildEnvironment(order).install()
    ProcessFollower(order).watch()


def begin_trial(text: str) -> None:
    """Shifts the seeds of a process that a trial has started, and keeps its writes where those of the trial go."""
    from unvanish.trials.isolation.workplace import load_workplace
    from unvanish.trials.isolation.writes import track_writes
    from unvanish.trials.script.seed_shift import shift_seeds
    from unvanish.trials.trial import JOB_FILE, WRITES_FILE, load_job

    order = FollowOrder.decode(text)
    if order.prefix != sys.prefix:
        return
    folder = Path(order.trial)
    trial, mirror, context = load_job(folder / JOB_FILE), load_workplace(folder), ExitStack()
    sys.dont_write_bytecode = True  # that of an edited file would lie beside the user's own
    context.enter_context(shift_seeds(trial.seed))
    if trial.isolated:
        cwd = Path.cwd() if mirror is None else mirror.to_original(Path.cwd())
        context.enter_context(track_writes(folder / WRITES_FILE, mirror, user_folders=(cwd,)))
    atexit.register(context.close)
