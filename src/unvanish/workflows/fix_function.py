"""`unvanish.fix`: the cures of a function that trains a network, raced as those of a script are.

The function goes to processes of its own, by value, so that every trial begins as it would in a fresh interpreter. Where a script's
source would be edited, the same remedies are applied live, when the function builds its optimizer.
"""

from __future__ import annotations

import inspect
import math
import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from unvanish.errors import UsageError
from unvanish.plugins.engines import open_engine
from unvanish.plugins.rules import diagnose
from unvanish.race import EditedCandidate
from unvanish.record.finding import Finding
from unvanish.record.network_changes import PatchContext, Plan
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.race_plan import RacePart
from unvanish.record.races.verdict import LinePlace, RaceResult, Verdict
from unvanish.record.run import Run
from unvanish.standard_error import print_to_stderr
from unvanish.trials import Script
from unvanish.trials.engines.engine import EngineOptions
from unvanish.workflows.candidate_selection import RATE, CandidateWriter, needs_optimizer
from unvanish.workflows.fix_script import FixCallbacks, FixOptions, fix_script
from unvanish.workflows.function_process import save_function

FUNCTION_FILE = "function.pkl"


@final
@dataclass(frozen=True, slots=True)
class FunctionFix:
    """What a race proved about a function that trains; `print` shows it as `unvanish fix` does."""

    run: Run
    race: RaceResult
    findings: tuple[Finding, ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdict on each candidate, best first."""
        return self.race.verdicts

    @property
    def winner(self) -> tuple[str, ...] | None:
        """The names of the remedies to take; None where nothing to take was proved."""
        return self.race.winner.remedies if self.race.winner is not None else None

    @property
    def line(self) -> str | None:
        """The line of code that applies the winner, for the place where the optimizer is built."""
        return self.race.line

    def report(self, path: str | Path) -> Path:
        """Writes the page of the report to `path`, and returns the path."""
        from unvanish.report.page import run_page

        return run_page.write_page(Path(path), self.run, list(self.findings))

    def __str__(self) -> str:
        from rich.console import Console

        from unvanish.report.terminal.run_report import render

        console = Console(width=100, force_terminal=False, no_color=True)
        with console.capture() as captured:
            console.print(render(self.run, list(self.findings), script=self.race.script, report_path=None))
        return captured.get().rstrip()


def fix(
    train: Callable[[], Any],
    remedies: str | Sequence[str] = (),
    *,
    seeds: int = 3,
    steps: int | None = None,
    minutes: float | None = None,
    metric: str | None = None,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    quiet: bool = False,
) -> FunctionFix:
    """The remedies raced on what `train()` trains: it builds the network and its optimizer, trains, and returns the network.

    Arguments:
        train: the function, called without arguments in processes of its own: it is copied there with all that it refers to, so
            what it changes outside of itself is not seen here.
        remedies: the candidates, by default those that the findings ask for; names joined by "+" go together.
        seeds: how many seeds the leaders run with.
        steps: ends every trial after so many training steps.
        minutes: ends the race.
        metric: the metric to compare by, by default one on held-out data that is printed or given to `unvanish.log`, else the loss.
        jobs, engine, address: how many trials run at a time, and where, as for `unvanish fix`.
        quiet: say nothing while it runs.

    Raises UsageError where the function cannot be copied or asks for arguments, ObservationError where it trains nothing,
    UnknownRemedy for a name that no remedy has.

    Example:
        >>> import unvanish
        >>> result = unvanish.fix(train, ["relu + he-init", "batchnorm"])  # doctest: +SKIP
        >>> result.winner, result.line  # doctest: +SKIP
        (('relu', 'he-init'), 'unvanish.apply(model, "relu", "he-init")')
    """
    requested = (remedies,) if isinstance(remedies, str) else tuple(remedies)
    name = _name_of(train)
    deadline = time.monotonic() + minutes * 60 if minutes else math.inf
    options = FixOptions(seeds=seeds, remedies=requested, max_steps=steps, metric=metric, deadline=deadline)
    callbacks = FixCallbacks() if quiet else FixCallbacks(_announce)
    with tempfile.TemporaryDirectory(prefix="unvanish-") as scratch:
        script = _write_script(train, Path(scratch), name)
        write, folder = _candidate_writer(script), Path(scratch) / "run"
        with open_engine(engine, EngineOptions(diagnose, jobs=jobs, deadline=deadline, address=address)) as opened:
            result = fix_script(script, folder=folder, engine=opened, options=options, callbacks=callbacks, write=write)
    run = result.checkup.run
    assert run.race is not None
    line, place = _apply_line(run.race.winner, run) if run.race.winner is not None else (None, LinePlace.BEFORE_OPTIMIZER)
    race = replace(run.race, script=f"{name}()", patch=None, line=line, line_place=place)
    run = replace(run, race=race, facts=replace(run.facts, script=f"{name}()"))
    return FunctionFix(run, race, tuple(result.checkup.findings))


def _announce(part: RacePart) -> None:
    print_to_stderr(f"{part.text} ({part.trials})")


def _name_of(train: Any) -> str:
    """The function's name as an identifier. Raises UsageError where it cannot be called without arguments."""
    if not callable(train):
        raise UsageError(f"fix takes a function that builds, trains and returns a network, and was given {type(train).__name__}")
    name = str(getattr(train, "__name__", type(train).__name__))
    name = name if name.isidentifier() else "train"
    try:
        inspect.signature(train).bind()
    except TypeError as fault:
        raise UsageError(f"{name}() is called without arguments ({fault}); bind them: lambda: {name}(...)") from fault
    except ValueError:
        return name  # a callable of C, which has no signature to ask
    return name


def _write_script(train: Callable[[], Any], folder: Path, name: str) -> Script:
    """A script that calls the function, and the function beside it. Raises UsageError where it cannot be copied."""
    try:
        save_function(train, folder / FUNCTION_FILE)
    except (pickle.PicklingError, TypeError, AttributeError) as fault:
        raise UsageError(f"{name}() cannot be copied to another process ({fault}); build what it refers to inside of it") from fault
    path = folder / f"{name}.py"
    path.write_text(_script_text(folder / FUNCTION_FILE), encoding="utf-8")
    return Script(path)


def _script_text(function: Path, remedies: Sequence[str] = (), rate_factor: float = 1.0) -> str:
    arguments = f"{str(function)!r}, {list(remedies)!r}, {rate_factor!r}"
    return f"from unvanish.workflows.function_process import run_function\n\nrun_function({arguments})\n"


def _candidate_writer(script: Script) -> CandidateWriter:
    """Writes candidates as edits of the script that calls the function."""
    path = script.path or Path()

    def write(plan: Plan, context: PatchContext, factor: float | None) -> EditedCandidate:  # noqa: ARG001
        names = () if plan.remedies == (RATE,) else plan.remedies
        text = _script_text(path.with_name(FUNCTION_FILE), names, factor or 1.0)
        return EditedCandidate(Candidate(plan.remedies, factor), ((path, text),))

    return write


def _apply_line(winner: Candidate, run: Run) -> tuple[str, LinePlace]:
    """What a person writes where the optimizer is built, and whether before or behind that line."""
    factor = winner.rate_factor
    rate = "" if factor is None else f'for group in optimizer.param_groups: group["lr"] *= {factor:g}'
    if winner.remedies == (RATE,):
        return rate, LinePlace.AFTER_OPTIMIZER
    entry = next((network.entry for network in run.structure.networks if network.entry is not None), None)
    names = ", ".join(f'"{name}"' for name in winner.remedies)
    with_optimizer = needs_optimizer(winner.remedies)
    optimizer = ", optimizer=optimizer" if with_optimizer else ""
    line = f"unvanish.apply({entry.expression if entry else 'model'}, {names}{optimizer})"
    place = LinePlace.AFTER_OPTIMIZER if with_optimizer or rate else LinePlace.BEFORE_OPTIMIZER
    return (f"{line}\n{rate}" if rate else line), place
