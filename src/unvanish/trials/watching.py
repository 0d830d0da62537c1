"""Watches the trial that this process is: an observer, its journal, and a progress file for the parent. It judges nothing.

This module imports torch, so a worker opens it only when the script has imported torch itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from unvanish.examine import first_look
from unvanish.observe import Observer, Progress, Settings, facts_of
from unvanish.record.journal import Journal
from unvanish.trials.script import Ending
from unvanish.trials.trial import PROGRESS, RUN, Trial


class Watching:
    """The observation of one trial, from the import of torch to `close`."""

    def __init__(self, trial: Trial) -> None:
        """Begins to watch. Raises RecordError where the journal cannot be written."""
        self._progress = trial.folder / PROGRESS
        self._journal = Journal.create(trial.folder / RUN)
        self._observer = Observer(
            self._journal,
            facts_of(trial.script.name, trial.script.arguments),
            settings=Settings(max_steps=trial.max_steps),
            on_progress=lambda progress: write_progress(self._progress, progress),
            clock=step_clock(),
            look=first_look,
        )
        self._observer.attach()

    def close(self, ending: Ending) -> None:
        """Ends watching and completes the journal."""
        self._observer.close(ending.exception or ending.how)
        self._journal.close()


def step_clock() -> Callable[[], float]:
    """The clock that steps are timed with: processor time, which trials that share a machine do not take from each other.

    Where an accelerator does the work, that says nothing, and the wall's clock is used.
    """
    return time.perf_counter if torch.cuda.is_available() else time.process_time


def write_progress(path: Path, progress: Progress) -> None:
    """Replaces the progress file as a whole, so that a reader never meets half a line."""
    draft = path.with_suffix(".draft")
    draft.write_text(f"{progress.step} {progress.loss!r}\n", encoding="utf-8")
    draft.replace(path)
