"""Runs a race on an unmodified script: the control and every candidate, on the same seeds and for the same number of steps.

The candidates enter as one line put into the script's source in memory. It judges nothing itself and edits no file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from unvanish.errors import ScriptError, UsageError
from unvanish.patch import decoded, suggestion, with_apply
from unvanish.race.referee import judge
from unvanish.record.anatomy import Entry
from unvanish.record.verdict import RaceResult
from unvanish.trials.engines.local import cores, run_trials
from unvanish.trials.outcome import Examine
from unvanish.trials.script import Script
from unvanish.trials.trial import News, Trial

CONTROL: tuple[str, ...] = ()


def race(
    script: Script,
    entry: Entry,
    candidates: Sequence[tuple[str, ...]],
    *,
    folder: Path,
    examine: Examine,
    seeds: int = 3,
    jobs: int | None = None,
    max_steps: int | None = None,
    progress: Callable[[News], None] | None = None,
) -> RaceResult:
    """What became of each candidate against the untouched script. `entry` says where a change can enter the source.

    `examine` gives the findings of a trial's run. At most `jobs` trials run at a time (by default one a core), and share the
    cores evenly. Every trial keeps its files in a folder of its own under `folder`. Ctrl-C ends the race and keeps what it showed.
    Raises UsageError where there is nothing to race, TrialError where the line cannot be put into the source, ScriptError where
    the source cannot be read.
    """
    if not candidates or seeds < 1:
        raise UsageError("a race needs at least one candidate and one seed")
    jobs = min(jobs or cores(), seeds * (len(candidates) + 1))
    edits = {CONTROL: (), **{remedies: _edits(entry, remedies) for remedies in candidates}}
    untouched = Trial(script, CONTROL, 0, folder, max_steps=max_steps, threads=max(1, cores() // jobs))
    trials = [
        replace(untouched, remedies=remedies, seed=seed, edits=edit, folder=folder / f"{'+'.join(remedies) or 'control'}-{seed}")
        for seed in range(seeds)  # outermost, so that trials to be compared run side by side
        for remedies, edit in edits.items()
    ]
    results = run_trials(trials, examine=examine, jobs=jobs, progress=progress)
    result = judge(script.name, results, planned=len(trials))
    return replace(result, line=suggestion(entry.expression, result.winner) if result.winner else None)


def _edits(entry: Entry, remedies: tuple[str, ...]) -> tuple[tuple[Path, str], ...]:
    """The user's file with the remedies' line in it."""
    path = Path(entry.location.file)
    try:
        source = decoded(path.read_bytes(), file=str(path))
    except OSError as fault:
        raise ScriptError(f"{path} cannot be read ({fault}), and the network is built there") from fault
    return ((path, with_apply(source, entry.location.line, entry.expression, remedies)),)
