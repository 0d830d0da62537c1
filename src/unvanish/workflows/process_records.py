"""The records of the processes of one run: has them made, merges them at the end, and runs a script as one rank of several.

Nothing here imports torch or numpy before the script has run."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.examination import with_prediction
from unvanish.observe import Settings, StopTraining
from unvanish.standard_error import print_to_stderr
from unvanish.trials import FollowOrder, Script, execute, following

if TYPE_CHECKING:
    from unvanish.record.ranks.process import TrainingProcess
    from unvanish.record.run import Run


def follow_order(script: Script, folder: Path, settings: Settings) -> FollowOrder:
    """What the processes are told that the script of a run starts."""
    return FollowOrder(str(folder.resolve()), script.name, script.arguments, settings.budget, settings.every, settings.max_steps)


def describe_this_process() -> TrainingProcess:
    """Which process of a training this one is."""
    from unvanish.trials.children.describe_process import describe_process

    return describe_process()


def merge_processes(folder: Path) -> Run | None:
    """The record of a run whose script has ended, where other processes than its own trained; None where none did."""
    from unvanish.trials.children.merged_records import merge_records

    return merge_records(folder, complete=with_prediction)


def launched_rank() -> int | None:
    """The rank of this process, where a launcher has started several; None where it is alone."""
    from unvanish.trials.children.launcher_variables import launched_rank as rank_and_count

    launched = rank_and_count()
    return launched[0] if launched is not None and launched[1] > 1 else None


def folder_of_launch(runs: Path, name: str) -> Path:
    """A folder among the runs on which all processes agree that one launcher has started on this machine."""
    import psutil

    launcher = psutil.Process(os.getppid())
    return runs / f"{datetime.fromtimestamp(launcher.create_time()):%Y%m%d-%H%M%S}-{name}-{launcher.pid}"


def run_as_rank(script: Script, folder: Path, settings: Settings) -> int:
    """The exit code of the script, which is run here as one of several ranks, and of which the first one makes the report.

    Raises ScriptError where there is no such script, and OSError where the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with following(follow_order(script, folder, settings)) as follower:
        follower.watch()
        ending = execute(script, stop_exceptions=(StopTraining,))
    follower.close(ending.ending)
    if ending.code:
        print_to_stderr(f"rank {launched_rank()} ended with {ending.ending}; what was seen of all ranks: unvanish report {folder}")
    return ending.code
