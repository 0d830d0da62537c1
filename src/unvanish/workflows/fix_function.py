"""`unvanish.fix`: the cures of a function that trains a network, raced as those of a script are. The rooms do it.

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
from typing import Any

from unvanish.errors import UsageError
from unvanish.race import Candidate, ignore_stage
from unvanish.record.change import PatchContext, Plan
from unvanish.record.finding import Finding
from unvanish.record.run import Run
from unvanish.record.verdict import RaceResult, Verdict
from unvanish.trials import Script
from unvanish.workflows.candidates import RATE
from unvanish.workflows.fix_script import FixCallbacks, FixOptions, fix_script, ignore_parts
from unvanish.workflows.run_directory import say

FUNCTION = "function.pkl"


@dataclass(frozen=True, slots=True)
class FunctionFix:
    """What a race proved about a function that trains: `winner` are the remedies to take (None: nothing to take was proved),
    `line` the call that applies them, for the place where the optimizer is built."""

    run: Run
    race: RaceResult
    findings: tuple[Finding, ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdict on each candidate, best first."""
        return self.race.verdicts

    @property
    def winner(self) -> tuple[str, ...] | None:
        """The remedies that won."""
        return self.race.winner

    @property
    def line(self) -> str | None:
        """The line of code that applies the winner."""
        return self.race.line

    def report(self, path: str | Path) -> Path:
        """Writes the page that tells it all to `path`, and says where it is."""
        from unvanish.report.page import run_page

        run_page.write(Path(path), self.run, list(self.findings))
        return Path(path)

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

    `remedies` are the candidates, by default those that the findings ask for; names joined by "+" go together. `seeds` are run for
    the leaders, `steps` ends every trial, `minutes` the race. Candidates are compared by `metric`, by default a figure on held-out
    data that is printed or given to `unvanish.log`, else the loss. Trials are processes of their own: the function is copied
    there with all that it refers to, so what it changes outside of itself is not seen here. `jobs` and `engine` are as for
    `unvanish fix`.

    Raises UsageError where the function cannot be copied or asks for arguments, ObservationError where it trains nothing,
    UnknownRemedy for a name that no remedy has.
    """
    from unvanish.plugins.engines import EngineOptions, open_engine
    from unvanish.plugins.rules import diagnose

    wanted = (remedies,) if isinstance(remedies, str) else tuple(remedies)
    name = _name_of(train)
    deadline = time.monotonic() + minutes * 60 if minutes else math.inf
    wishes = FixOptions(seeds=seeds, remedies=wanted, max_steps=steps, metric=metric, deadline=deadline)
    told = FixCallbacks(ignore_stage if quiet else lambda text, trials: say(f"{text} ({trials})"), ignore_parts)
    with tempfile.TemporaryDirectory(prefix="unvanish-") as scratch:
        script = _script(train, Path(scratch), name)
        with open_engine(engine, EngineOptions(diagnose, jobs=jobs, deadline=deadline, address=address)) as crew:
            done = fix_script(script, folder=Path(scratch) / "run", engine=crew, wishes=wishes, told=told, author=_author(script))
    race = done.checkup.run.race
    assert race is not None
    race = replace(race, script=f"{name}()", patch=None, line=_line(race, done.checkup.run))
    run = replace(done.checkup.run, race=race, facts=replace(done.checkup.run.facts, script=f"{name}()"))
    return FunctionFix(run, race, tuple(done.checkup.findings))


def _name_of(train: Any) -> str:
    if not callable(train):
        raise UsageError(f"fix takes a function that builds, trains and returns a network, and was given {type(train).__name__}")
    name = str(getattr(train, "__name__", type(train).__name__))
    name = name if name.isidentifier() else "train"
    try:
        inspect.signature(train).bind()
    except TypeError as fault:
        raise UsageError(f"{name}() is called without arguments ({fault}); bind them: lambda: {name}(...)") from fault
    except ValueError:
        return name  # a callable of C, which tells nothing of its arguments
    return name


def _script(train: Callable[[], Any], folder: Path, name: str) -> Script:
    """A script that calls the function, and the function beside it. Raises UsageError where it cannot be copied."""
    from unvanish.workflows.function_process import save

    try:
        save(train, folder / FUNCTION)
    except (pickle.PicklingError, TypeError, AttributeError) as fault:
        raise UsageError(f"{name}() cannot be copied to another process ({fault}); build what it refers to inside of it") from fault
    path = folder / f"{name}.py"
    path.write_text(_text(folder / FUNCTION), encoding="utf-8")
    return Script(path)


def _text(function: Path, remedies: Sequence[str] = (), rate_factor: float = 1.0) -> str:
    return f"from unvanish.workflows.function_process import run\n\nrun({str(function)!r}, {list(remedies)!r}, {rate_factor!r})\n"


def _author(script: Script) -> Callable[[Plan, PatchContext, float | None], Candidate]:
    """Candidates as edits of the script that calls the function."""
    path = script.path or Path()

    def write(plan: Plan, blueprint: PatchContext, factor: float | None) -> Candidate:  # noqa: ARG001
        names = () if plan.remedies == (RATE,) else plan.remedies
        text = _text(path.with_name(FUNCTION), names, factor or 1.0)
        return Candidate(plan.remedies, ((path, text),), "" if factor is None else f"x{factor:g}")

    return write


def _line(race: RaceResult, run: Run) -> str | None:
    """What a person writes where the optimizer is built: behind that line where the optimizer is named, else before it."""
    from unvanish.plugins.remedies import catalogue

    if race.winner is None:
        return None
    entry = next((network.entry for network in run.anatomy.networks if network.entry is not None), None)
    factor = race.winner_variant.removeprefix("x")
    rate = f'for group in optimizer.param_groups: group["lr"] *= {factor}' if factor else ""
    if race.winner == (RATE,):
        return rate
    names = ", ".join(f'"{name}"' for name in race.winner)
    behind = ", optimizer=optimizer" if any(catalogue()[name].family == "optimisation" for name in race.winner) else ""
    apply = f"unvanish.apply({entry.expression if entry else 'model'}, {names}{behind})"
    return f"{apply}\n{rate}" if rate else apply
