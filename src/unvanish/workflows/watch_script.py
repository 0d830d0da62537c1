"""Runs a script here and watches it, for `unvanish run`: whatever happens to us, its output, exit code and end are its own.

Nothing here imports torch or numpy before the script has done so.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, final

from unvanish.errors import ScriptError, UnvanishError
from unvanish.examination import examine_first_step, with_prediction
from unvanish.import_hooks import when_imported
from unvanish.network.torch_version import require_supported_torch
from unvanish.observe import Progress, Settings, StopTraining
from unvanish.record.storage.file_names import RUN_FILE
from unvanish.standard_error import print_to_stderr
from unvanish.trials import (
    Script,
    ScriptExit,
    execute,
    following,
    intercept_os_exit,
    watching_metrics,
)
from unvanish.workflows.process_records import describe_this_process, follow_order, merge_processes
from unvanish.workflows.run_directory import Checkup, NotWatched, conclude, create_folder, release_folder, remove_folder

if TYPE_CHECKING:
    from unvanish.observe import Observer
    from unvanish.observe.structure.model_index import ModelIndex
    from unvanish.record.ranks.process import TrainingProcess
    from unvanish.record.run import Run
    from unvanish.record.storage.journal import Journal

# While a script runs, it is diagnosed after two seconds at first, then after two hundred times what the last diagnosis took.
LIVE_FIRST_S = 2.0
LIVE_SHARE = 200

OnProgress = Callable[[Progress, str], None]
"""Called with the progress and the code of the leading finding ("" if there is none)."""

Present = Callable[[Checkup | NotWatched], None]
"""Shows the person what was seen, or why nothing was."""


def watch_script(
    script: Script, *, folder: Path, settings: Settings, present: Present, on_progress: OnProgress | None = None
) -> int:
    """The exit code of the script, which is run here to its end and watched; record and page are in `folder`, which is created.

    Where Ctrl-C ended the script it is negative: the number of the signal, by which the process is to end too.

    `present` is called once, when the script has ended, also where it ends the process by `os._exit`. From the script's first line
    on no fault of ours is raised: what could not be watched or shown is said in one line on standard error.

    Raises UsageError where the folder cannot be written to, and ScriptError where there is no such script.
    """
    created = create_folder(folder)
    watched = _ScriptWatch(script, folder, settings, on_progress)
    process, is_presented, streams = os.getpid(), False, (sys.stdout, sys.stderr)

    def end(script_exit: ScriptExit) -> None:
        nonlocal is_presented
        if is_presented or os.getpid() != process:
            return
        is_presented = True
        with _streams_restored(*streams):
            outcome = watched.conclude(script_exit)
            if isinstance(outcome, NotWatched) and not outcome.has_record:
                remove_folder(folder, created)
            _present_guarded(present, outcome, folder)

    try:
        with intercept_os_exit(lambda code: end(ScriptExit(code, "exited"))):
            script_exit = watched.run()
            end(script_exit)
    except ScriptError:
        remove_folder(folder, created)
        raise
    return script_exit.exit_status


@contextmanager
def _streams_restored(stdout: TextIO, stderr: TextIO) -> Generator[None]:
    """A context in which output goes where it went before the script, which may have put files of its own in place."""
    theirs = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = stdout, stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = theirs


def _present_guarded(present: Present, outcome: Checkup | NotWatched, folder: Path) -> None:
    try:
        present(outcome)
    except KeyboardInterrupt:
        print_to_stderr(f"interrupted before everything was shown; the run is in {folder}")
    except Exception as fault:
        print_to_stderr(f"the result could not be shown ({type(fault).__name__}: {fault}); the run is in {folder}")


@final
class _ScriptWatch:
    """The observer and the journal of a script, attached once the script has imported torch.

    `fault` is why observing could not begin or end; "" where it did.
    """

    def __init__(self, script: Script, folder: Path, settings: Settings, on_progress: OnProgress | None) -> None:
        self._script, self._folder, self._settings, self._on_progress = script, folder, settings, on_progress
        self._began, self._stderr = time.perf_counter(), sys.stderr
        self._observer: Observer | None = None
        self._journal: Journal | None = None
        self._process: TrainingProcess | None = None
        self._fault = ""
        self._cancel: Callable[[], None] = lambda: None

    def run(self) -> ScriptExit:
        """How the script ended, having been observed from its import of torch on. Raises ScriptError where it cannot start."""
        self._cancel = when_imported("torch", self._attach_guarded)
        try:
            with (
                following(follow_order(self._script, self._folder, self._settings), self._release),
                watching_metrics(self._record_metrics),
            ):
                return execute(self._script, stop_exceptions=(StopTraining,))
        except ScriptError:
            self._close("failed")
            raise
        finally:
            self._cancel()

    def conclude(self, script_exit: ScriptExit) -> Checkup | NotWatched:
        """What was seen of the script that has ended, diagnosed and drawn; or why nothing was."""
        try:
            self._close(script_exit.ending)
            run = self._complete_journal()
            if run is None:
                release_folder(self._folder)
            merged = merge_processes(self._folder)
            if merged is not None:
                return conclude(script_exit, merged, self._folder)
            if run is None or self._observer is None:
                return self._not_watched(script_exit, self._fault or "it did not import torch")
            if not run.step_count or not self._observer.model_index.has_modules:
                return self._not_watched(script_exit, _why_no_step(self._observer, run.facts.faults))
            return conclude(script_exit, run, self._folder)
        except KeyboardInterrupt:
            return NotWatched(script_exit, f"interrupted before the record was read; it is in {self._folder}", has_record=True)
        except Exception as fault:
            reason = f"the record could not be read ({type(fault).__name__}: {fault}); it is in {self._folder}"
            return NotWatched(script_exit, reason, has_record=True)

    def _attach_guarded(self) -> None:
        """Begins to observe; torch has been imported. A fault of ours must not fail that import."""
        try:
            self._attach()
        except UnvanishError as fault:
            self._fault = str(fault)
        except Exception as fault:
            self._fault = f"the observer could not start ({type(fault).__name__}: {fault})"

    def _attach(self) -> None:
        require_supported_torch()
        from unvanish.observe import Observer, collect_facts
        from unvanish.record.storage.journal import Journal

        warn = partial(print_to_stderr, stream=self._stderr)
        journal = Journal.create(self._folder / RUN_FILE, on_fault=warn)
        observer = Observer(
            journal,
            collect_facts(self._script.name, self._script.arguments),
            settings=self._settings,
            on_progress=_with_leading_finding(journal, self._on_progress) if self._on_progress else None,
            warn=warn,
            began=self._began,
            examine=examine_first_step,
            gate=self._describe_process,
        )
        observer.attach()
        self._journal, self._observer = journal, observer

    def _record_metrics(self, metrics: Mapping[str, float]) -> None:
        if self._observer is not None:
            self._observer.record_metrics(metrics)

    def _describe_process(self, progress: Progress) -> None:
        """Says, once the first step is made, which process of the training this is: it may be one of many."""
        if progress.step == 1:
            with suppress(Exception):
                self._process = describe_this_process()

    def _release(self) -> ModelIndex | None:
        """Withdraws everything in a forked process."""
        self._cancel()
        if self._observer is None:
            return None
        self._observer.release()
        return self._observer.model_index

    def _close(self, ending: str) -> None:
        if self._observer is not None and self._journal is not None:
            facts = self._observer.close(ending)
            self._journal.write(facts=replace(facts, process=self._process))

    def _complete_journal(self) -> Run | None:
        """The record of this process, whose file is complete then; None where observing never began."""
        if self._journal is None:
            return None
        run = with_prediction(self._journal.read())
        if run.examination is not None:
            self._journal.write(examination=run.examination)
        self._journal.close()
        return run

    def _not_watched(self, script_exit: ScriptExit, reason: str) -> NotWatched:
        name = self._script.name
        if script_exit.code and not self._fault:
            return NotWatched(script_exit, f"{name} ended with exit code {script_exit.code} before its first training step")
        return NotWatched(script_exit, f"nothing of {name} could be watched: {reason}")


def _why_no_step(observer: Observer, faults: tuple[str, ...]) -> str:
    """Why an observer saw no training step of a network."""
    if faults:
        return f"the observer stopped at the first step ({faults[0]})"
    if not observer.backward_calls and observer.returned_gradients:
        return "it takes its gradients by torch.autograd.grad or torch.func, and what is watched are backward passes"
    if not observer.backward_calls:
        return "it made no backward pass (did it stop early? arguments for the script go after its name)"
    if not observer.model_index.has_modules:
        return "what it trains is no torch.nn.Module"
    return "no step that updates the weights of a network was seen"


def _with_leading_finding(journal: Journal, report: OnProgress) -> Callable[[Progress], None]:
    """Progress with the leading finding's code, diagnosed as often as a small share of the time allows."""
    from unvanish.diagnose import diagnose  # the built-in rules alone: no plugin is loaded amid a training

    state: dict[str, Any] = {"code": "", "next": time.perf_counter() + LIVE_FIRST_S}

    def on_progress(progress: Progress) -> None:
        now = time.perf_counter()
        if now >= state["next"]:
            loud = [finding for finding in diagnose(journal.read()) if finding.severity.loud]
            state["code"] = loud[0].code if loud else ""
            state["next"] = now + LIVE_SHARE * (time.perf_counter() - now)
        report(progress, state["code"])

    return on_progress
