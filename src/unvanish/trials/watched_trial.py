"""Watches the trial that this process is: an observer, its journal, and a progress file for the parent, and a gate at which it
waits. It judges nothing.

This module imports torch, so a worker opens it only when the script has imported torch itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module

import torch

from unvanish.examination import first_look
from unvanish.observe import Observer, Progress, Settings, facts_of
from unvanish.observe.first_call import Look
from unvanish.record.journal import Journal
from unvanish.trials.progress import write_progress
from unvanish.trials.script.execution import Ending
from unvanish.trials.script.tracebacks import flush
from unvanish.trials.step_gate import Gate
from unvanish.trials.trial import PROGRESS, RUN, Trial


class WatchedTrial:
    """The observation of one trial, from the import of torch to `close`."""

    def __init__(self, trial: Trial, gate: Gate) -> None:
        """Begins to watch. Raises RecordError where the journal cannot be written."""
        self._path, self._gate = trial.folder / PROGRESS, gate
        self._last, self._over = trial.max_steps, False
        self._journal = Journal.create(trial.folder / RUN)
        self._observer = Observer(
            self._journal,
            facts_of(trial.script.name, trial.script.arguments),
            settings=Settings(max_steps=trial.max_steps),
            on_progress=self._write,
            clock=step_clock(),
            look=_look(trial),
            gate=self._wait_if_there,
        )
        self._observer.attach()

    @property
    def step(self) -> int:
        """The last step that was made."""
        return self._observer.progress.step

    @property
    def stopped(self) -> bool:
        """Whether the trial has made its last step, and was told to stop there."""
        return self._last is not None and self.step >= self._last

    def note(self, metrics: Mapping[str, float]) -> None:
        """Takes in figures that the script gave to a tracker."""
        self._observer.note(metrics)

    def close(self, ending: Ending) -> None:
        """Ends watching and completes the journal."""
        self._write(self._observer.progress)
        facts = self._observer.close(ending.exception or ending.how)
        device = facts.device if torch.cuda.is_initialized() else "cpu"  # what was used, not only there
        self._journal.write(facts=replace(facts, device=device, threads=torch.get_num_threads()))  # set by the script meanwhile
        self._journal.close()

    def _wait_if_there(self, progress: Progress) -> None:
        if self._over:  # the script has caught what was to stop it, and would train on; the worker completes the record
            os._exit(0)
        self._over = self.stopped
        while self._gate.closed_at(progress.step):
            self._observer.flush()
            flush()
            self._write(progress, paused=True)
            self._gate.wait()
            self._write(progress)

    def _write(self, progress: Progress, *, paused: bool = False) -> None:
        threads = torch.get_num_threads()
        write_progress(self._path, step=progress.step, loss=progress.loss, paused=paused, threads=threads)


def _look(trial: Trial) -> Look:
    """What looks at the first step: the exact look, or what the trial names."""
    if not trial.look:
        return first_look
    home, _, name = trial.look.partition(":")
    look = getattr(import_module(home), name)
    return lambda seen: look(seen, trial)


def step_clock() -> Callable[[], float]:
    """The clock that steps are timed with: processor time, which trials that share a machine do not take from each other.

    Where an accelerator does the work, that says nothing, and the wall's clock is used.
    """
    return time.perf_counter if torch.cuda.is_available() else time.process_time
