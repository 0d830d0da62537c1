"""What a person asks for, put together from the rooms: watch a script or a loop, trace and check a network, race cures. The rooms
do it.

This is the only file that knows every room. Nothing here imports torch before the user's script has done so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unvanish.errors import ObservationError, ScriptFailed, UnvanishError, UsageError
from unvanish.examination import first_look, with_plotting, with_prediction
from unvanish.observe import Progress, Settings, StopTraining
from unvanish.trials import Ending, OutputReader, Script, execute, watching_print, watching_trackers, when_imported
from unvanish.workflows.run_directory import RUN_FILE, Checkup, conclude, make, say, unmake

if TYPE_CHECKING:
    from torch import nn

    from unvanish.observe import Observer
    from unvanish.record.finding import Finding
    from unvanish.record.flow import GradientFlow
    from unvanish.record.journal import Journal
    from unvanish.record.run import Run

# A look at the findings while a script runs waits for two seconds at first, then for two hundred times what the last one took.
LIVE_FIRST_S = 2.0
LIVE_SHARE = 200


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
        """Writes the page that tells it all to `path`, and says where it is."""
        from unvanish.report.page import run_page

        run_page.write(Path(path), self.run, self.findings)
        return Path(path)


@contextmanager
def watch(*models: nn.Module, budget: float = 0.01, every: int | None = None) -> Generator[WatchedRun]:
    """The loop inside, watched: `with unvanish.watch(model) as run: ...`, then `run.findings` and `run.report("out.html")`.

    The training goes on bit for bit as it would without. `budget` is the share of wall time that watching may take, `every`
    samples each n-th step instead. Raises UsageError where a model is not a module.
    """
    from torch import nn

    from unvanish.observe import Observer, facts_of
    from unvanish.record.journal import Journal

    for model in tuple[Any, ...](models):
        if not isinstance(model, nn.Module):
            raise UsageError(f"watch needs torch.nn.Module objects, and was given {type(model).__name__}; pass the network itself")
    journal = Journal.create(None)
    observer = Observer(
        journal,
        facts_of(Path(sys.argv[0]).name),
        settings=Settings(budget=budget, every=every),
        networks=models,
        warn=say,
        look=first_look,
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


def trace(model: nn.Module, inputs: Any, loss: Any, *, to: str | None = None) -> GradientFlow:
    """Where the gradient goes between the output and the input, or the parameter named by `to`, operation by operation.

    `flow.total` is log10 of the gradient's RMS at the input over that at the output. `flow.shares(by)`, by "op", "module", "kind"
    or "block", adds up to it exactly; `flow.table()` is text, `flow.plot()` a figure. `inputs` is a tensor, a tuple of positional
    or a dict of keyword arguments; `loss` takes the outputs and returns one number, or is a tensor of targets. The network is left
    bit for bit as it was. Raises UsageError for what cannot be used, TraceError where no finite gradient arrives.
    """
    from unvanish.tracing import trace as traced

    return with_plotting(traced(model, inputs, loss, to=to))


def watch_script(
    script: Script,
    *,
    folder: Path,
    settings: Settings,
    on_progress: Callable[[Progress, str], None] | None = None,
) -> Checkup:
    """The script, run here to its end and watched; its record, findings and page are in `folder`, which is made.

    `on_progress` gets the progress and the code of the leading finding ("" if there is none). Raises UsageError where the
    folder cannot be written, and ObservationError where there was nothing to watch although the script ended well.
    """
    made = make(folder)
    try:
        return _watch(script, folder, settings, on_progress)
    except UnvanishError:
        unmake(folder, made)
        raise


def _watch(script: Script, folder: Path, settings: Settings, on_progress: Callable[[Progress, str], None] | None) -> Checkup:
    watches: list[tuple[Observer, Journal]] = []
    began = time.perf_counter()

    def attach() -> None:
        from unvanish.observe import Observer, facts_of
        from unvanish.record.journal import Journal

        journal = Journal.create(folder / RUN_FILE)
        tell = _with_health(journal, on_progress) if on_progress else None
        facts = facts_of(script.name, script.arguments)
        observer = Observer(journal, facts, settings=settings, on_progress=tell, warn=say, began=began, look=first_look)
        observer.attach()
        watches.append((observer, journal))

    def note(metrics: Mapping[str, float]) -> None:
        if watches and metrics:
            watches[0][0].note(metrics)

    printed = OutputReader()
    forget = when_imported("torch", attach)
    how = "failed"
    try:
        with watching_print(lambda text: note(printed.metrics(text))), watching_trackers(note):
            ending = execute(script, stop=(StopTraining,))
        how = ending.exception or ending.how
    finally:
        forget()
        for observer, _ in watches:
            observer.close(how)
    if not watches:
        raise _nothing_seen(script, ending, "ended without importing torch")
    observer, journal = watches[0]
    run = with_prediction(journal.read())
    if run.examination is not None:
        journal.write(examination=run.examination)
    journal.close()
    if not run.step_count or not observer.modules_born:
        seen = "it has no torch.nn.Module" if observer.backward_calls else "it never called backward"
        raise _nothing_seen(script, ending, f"made no training step that can be watched: {seen}")
    return conclude(ending, run, folder)


def _nothing_seen(script: Script, ending: Ending, what: str) -> ObservationError:
    if ending.code:
        return ScriptFailed(f"{script.name} ended with exit code {ending.code} before its first training step", ending.code)
    return ObservationError(
        f"{script.name} {what}, so there was nothing to watch. Did it stop early? Arguments for the script go after its name: "
        f"unvanish run {script.name} --data DIR"
    )


def _with_health(journal: Journal, tell: Callable[[Progress, str], None]) -> Callable[[Progress], None]:
    """Progress with the leading finding's code, looked for as often as a small share of the time allows."""
    from unvanish.diagnose import diagnose  # the built-in rules alone: no plugin is loaded amid a training

    state: dict[str, Any] = {"code": "", "next": time.perf_counter() + LIVE_FIRST_S}

    def on_progress(progress: Progress) -> None:
        now = time.perf_counter()
        if now >= state["next"]:
            loud = [finding for finding in diagnose(journal.read()) if finding.severity.loud]
            state["code"] = loud[0].code if loud else ""
            state["next"] = now + LIVE_SHARE * (time.perf_counter() - now)
        tell(progress, state["code"])

    return on_progress
