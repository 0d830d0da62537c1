"""Observes the trial that runs in this process: writes its journal and its progress file, and pauses it at its goals.

This module imports torch, so a worker imports it only when the script has imported torch itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module

import torch

from unvanish.examination import examine_first_step
from unvanish.observe import Observer, Progress, Settings, collect_facts
from unvanish.observe.first_network_call import ExamineFirstCall
from unvanish.observe.structure.model_index import ModelIndex
from unvanish.record.storage.file_names import RUN_FILE
from unvanish.record.storage.journal import Journal
from unvanish.trials.pause_gate import StepGate
from unvanish.trials.progress import write_progress
from unvanish.trials.script.execution import ScriptExit
from unvanish.trials.script.tracebacks import flush_output
from unvanish.trials.trial import PROGRESS_FILE, Trial


class WatchedTrial:
    """The observation of one trial, from the import of torch to `close`."""

    def __init__(self, trial: Trial, gate: StepGate) -> None:
        """Starts observing. Raises RecordError where the journal cannot be written."""
        self._path, self._gate = trial.folder / PROGRESS_FILE, gate
        self._max_steps, self._was_stopped = trial.max_steps, False
        self._journal = Journal.create(trial.folder / RUN_FILE)
        self._observer = Observer(
            self._journal,
            collect_facts(trial.script.name, trial.script.arguments),
            settings=Settings(max_steps=trial.max_steps),
            on_progress=self._write_progress,
            clock=step_clock(),
            examine=first_step_function(trial),
            gate=self._pause_at_goal,
        )
        self._observer.attach()

    @property
    def step(self) -> int:
        """The last step that was made."""
        return self._observer.progress.step

    @property
    def has_finished(self) -> bool:
        """Whether the trial has a last step, and has made it."""
        return self._max_steps is not None and self.step >= self._max_steps

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Records metrics that the script gave to a tracker, at the present step."""
        self._observer.record_metrics(metrics)

    def release(self) -> ModelIndex:
        """What is known of the networks. Withdraws everything, in a process that was forked from this one."""
        self._observer.release()
        return self._observer.model_index

    def close(self, ending: ScriptExit) -> None:
        """Stops observing and completes the journal."""
        self._write_progress(self._observer.progress)
        facts = self._observer.close(ending.ending)
        self._journal.write(facts=replace(facts, threads=torch.get_num_threads()))  # set by the script meanwhile
        self._journal.close()

    def _pause_at_goal(self, progress: Progress) -> None:
        if self._was_stopped:  # the script has caught StopTraining and would train on; the worker completes the record
            os._exit(0)
        self._was_stopped = self.has_finished
        while self._gate.is_closed_at(progress.step):
            self._observer.flush()
            flush_output()
            self._write_progress(progress, is_paused=True)
            self._gate.wait_for_goal()
            self._write_progress(progress)

    def _write_progress(self, progress: Progress, *, is_paused: bool = False) -> None:
        threads = torch.get_num_threads()
        write_progress(self._path, step=progress.step, loss=progress.loss, is_paused=is_paused, threads=threads)


def first_step_function(trial: Trial) -> ExamineFirstCall:
    """What examines the first training step: the exact trace of the gradient, or the function that the trial names."""
    if not trial.first_step_function:
        return examine_first_step
    module, _, name = trial.first_step_function.partition(":")
    function = getattr(import_module(module), name)
    return lambda call: function(call, trial)


def step_clock() -> Callable[[], float]:
    """The clock that steps are timed with: processor time, which other trials on the machine do not lengthen.

    With an accelerator, processor time does not contain the work, so wall-clock time is used.
    """
    return time.perf_counter if torch.cuda.is_available() else time.process_time
