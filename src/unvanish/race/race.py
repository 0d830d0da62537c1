"""Runs a race on an unmodified script: the control and every candidate, on the same seeds and for the same number of steps.

All run with the first seed; then those that lead run with the others, against the control. It judges nothing itself and edits no
file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from unvanish.errors import UsageError
from unvanish.race.referee import judge, standing
from unvanish.race.treatments import CONTROL, Treatment
from unvanish.record.verdict import RaceResult, TrialResult
from unvanish.trials.engines.local import cores, run_trials
from unvanish.trials.outcome import Examine
from unvanish.trials.script import Script
from unvanish.trials.trial import News, Trial


def race(
    script: Script,
    treatments: Sequence[Treatment],
    *,
    folder: Path,
    examine: Examine,
    seeds: int = 3,
    keep: int | None = None,
    jobs: int | None = None,
    max_steps: int | None = None,
    progress: Callable[[News], None] | None = None,
) -> RaceResult:
    """What became of each candidate against the untouched script.

    With the first of `seeds` seeds all run; the `keep` best of them (by default all) run with the others too. `examine` gives
    the findings of a trial's run. At most `jobs` trials run at a time (by default one a core), and share the cores evenly. Every
    trial keeps its files in a folder of its own under `folder`. Ctrl-C ends the race and keeps what it showed. Raises UsageError
    where there is nothing to race.
    """
    if not treatments or seeds < 1:
        raise UsageError("a race needs at least one candidate and one seed")
    jobs = min(jobs or cores(), len(treatments) + 1)
    threads = max(1, cores() // jobs)

    def trials(chosen: Sequence[Treatment], numbers: Sequence[int]) -> list[Trial]:
        return [
            Trial(script, each.remedies, seed, folder / _folder(each, seed), each.edits, max_steps, threads)
            for seed in numbers  # outermost, so that trials to be compared run side by side
            for each in (CONTROL, *chosen)
        ]

    first = trials(treatments, (0,))
    results = run_trials(first, examine=examine, jobs=jobs, progress=progress)
    planned = len(first)
    if seeds > 1 and len(results) == len(first):
        leading = standing(results)[: keep or len(treatments)]
        more = trials([each for each in treatments if each.remedies in leading], range(1, seeds)) if leading else []
        planned += len(more)
        results += _later(more, examine, jobs, progress)
    return judge(script.name, results, planned=planned)


def _later(trials: Sequence[Trial], examine: Examine, jobs: int, progress: Callable[[News], None] | None) -> list[TrialResult]:
    """The results of the second round; none where Ctrl-C came before its first."""
    try:
        return run_trials(trials, examine=examine, jobs=jobs, progress=progress)
    except KeyboardInterrupt:
        return []


def _folder(each: Treatment, seed: int) -> str:
    return f"{'+'.join(each.remedies) or 'control'}-{seed}"
