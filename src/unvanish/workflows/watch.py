"""Watches a training: a loop in this program by `unvanish.watch`, or a script that is run here for `unvanish run`.

Nothing here imports torch or numpy before the user's script has done so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from unvanish.errors import ObservationError, ScriptFailed, UnvanishError, UsageError
from unvanish.examination import examine_first_step, with_prediction
from unvanish.observe import Progress, Settings, StopTraining
from unvanish.record.storage.file_names import RUN_FILE
from unvanish.trials import OutputReader, Script, ScriptExit, execute, watching_print, watching_trackers, when_imported
from unvanish.workflows.run_directory import Checkup, conclude, create_folder, print_to_stderr, remove_folder

if TYPE_CHECKING:
    from torch import nn

    from unvanish.observe import Observer
    from unvanish.record.finding import Finding
    from unvanish.record.run import Run
    from unvanish.record.storage.journal import Journal

# While a script runs, it is diagnosed after two seconds at first, then after two hundred times what the last diagnosis took.
LIVE_FIRST_S = 2.0
LIVE_SHARE = 200

OnProgress = Callable[[Progress, str], None]
"""Called with the progress and the code of the leading finding ("" if there is none)."""


@final
class WatchedRun:
    """A loop under observation. `findings` and `report` can be asked for at any time, also after the `with` block."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def run(self) -> Run:
        """The record so far."""
        return with_prediction(self._journal.read())

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, the root first; empty where nothing is, or nothing was seen yet."""
        from unvanish.plugins.rules import diagnose

        return diagnose(self.run)

    def report(self, path: str | Path) -> Path:
        """Writes the page of the report to `path`, and returns the path."""
        from unvanish.report.page import run_page

        return run_page.write_page(Path(path), self.run, self.findings)


@contextmanager
def watch(*models: nn.Module, budget: float = 0.01, every: int | None = None) -> Generator[WatchedRun]:
    """The training loop inside, watched; it goes on bit for bit as it would without.

    Arguments:
        models: the networks to watch; by default every network that is trained in the block.
        budget: the share of wall time that watching may take.
        every: sample each n-th step instead, whatever it costs.

    Raises UsageError where a model is not a module. A fault of the observer itself is recorded, warned of once, and never raised
    into the loop.

    Example:
        >>> import torch, unvanish
        >>> _ = torch.manual_seed(0)
        >>> layers = [m for _ in range(9) for m in (torch.nn.Linear(16, 16), torch.nn.Sigmoid())]
        >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(16, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> inputs, labels = torch.randn(64, 16), torch.randint(2, (64,))
        >>> with unvanish.watch(model) as run:
        ...     for _ in range(60):
        ...         loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         optimizer.step()
        >>> run.findings[0].code
        'vanishing-gradient'
    """
    from torch import nn

    from unvanish.observe import Observer, collect_facts
    from unvanish.record.storage.journal import Journal

    for model in tuple[Any, ...](models):
        if not isinstance(model, nn.Module):
            raise UsageError(f"watch needs torch.nn.Module objects, and was given {type(model).__name__}; pass the network itself")
    journal = Journal.create(None)
    observer = Observer(
        journal,
        collect_facts(Path(sys.argv[0]).name),
        settings=Settings(budget=budget, every=every),
        networks=models,
        warn=print_to_stderr,
        examine=examine_first_step,
    )
    observer.attach()
    ending = "finished"
    try:
        yield WatchedRun(journal)
    except BaseException as fault:
        ending = type(fault).__name__
        raise
    finally:
        observer.close(ending)


def watch_script(script: Script, *, folder: Path, settings: Settings, on_progress: OnProgress | None = None) -> Checkup:
    """The script, run here to its end and watched; its record, findings and page are in `folder`, which is created.

    Raises UsageError where the folder cannot be written, and ObservationError where there was nothing to watch although the script
    ended well.
    """
    created = create_folder(folder)
    try:
        return _watch(script, folder, settings, on_progress)
    except UnvanishError:
        remove_folder(folder, created)
        raise


@final
class _ScriptWatch:
    """The observer and the journal of a script, attached once the script has imported torch."""

    def __init__(self, script: Script, folder: Path, settings: Settings, on_progress: OnProgress | None) -> None:
        self._script, self._folder, self._settings, self._on_progress = script, folder, settings, on_progress
        self._began = time.perf_counter()
        self.observer: Observer | None = None
        self.journal: Journal | None = None

    def attach(self) -> None:
        """Begins to observe; torch has been imported."""
        from unvanish.observe import Observer, collect_facts
        from unvanish.record.storage.journal import Journal

        self.journal = Journal.create(self._folder / RUN_FILE)
        self.observer = Observer(
            self.journal,
            collect_facts(self._script.name, self._script.arguments),
            settings=self._settings,
            on_progress=_with_leading_finding(self.journal, self._on_progress) if self._on_progress else None,
            warn=print_to_stderr,
            began=self._began,
            examine=examine_first_step,
        )
        self.observer.attach()

    def record_metrics(self, metrics: Mapping[str, float]) -> None:
        """Records what the script reports, once it is observed."""
        if self.observer is not None and metrics:
            self.observer.record_metrics(metrics)

    def close(self, ending: str) -> None:
        """Ends the observation, if it began."""
        if self.observer is not None:
            self.observer.close(ending)


def _watch(script: Script, folder: Path, settings: Settings, on_progress: OnProgress | None) -> Checkup:
    watched, printed = _ScriptWatch(script, folder, settings, on_progress), OutputReader()
    cancel = when_imported("torch", watched.attach)
    ending = "failed"
    try:
        with (
            watching_print(lambda text: watched.record_metrics(printed.metrics(text))),
            watching_trackers(watched.record_metrics),
        ):
            script_exit = execute(script, stop_exceptions=(StopTraining,))
        ending = script_exit.exception or script_exit.reason
    finally:
        cancel()
        watched.close(ending)
    observer, journal = watched.observer, watched.journal
    if observer is None or journal is None:
        raise _nothing_to_watch(script, script_exit, "ended without importing torch")
    run = with_prediction(journal.read())
    if run.examination is not None:
        journal.write(examination=run.examination)
    journal.close()
    if not run.step_count or not observer.has_modules:
        reason = "it has no torch.nn.Module" if observer.backward_calls else "it never called backward"
        raise _nothing_to_watch(script, script_exit, f"made no training step that can be watched: {reason}")
    return conclude(script_exit, run, folder)


def _nothing_to_watch(script: Script, script_exit: ScriptExit, reason: str) -> ObservationError:
    if script_exit.code:
        code = script_exit.code
        return ScriptFailed(f"{script.name} ended with exit code {code} before its first training step", code)
    return ObservationError(
        f"{script.name} {reason}, so there was nothing to watch. Did it stop early? Arguments for the script go after its name: "
        f"unvanish run {script.name} --data DIR"
    )


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
