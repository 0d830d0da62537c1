"""Cures for an unmodified script: it is watched, its findings' remedies are raced against it, and the winner comes as a patch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.errors import NotApplicable, ObservationError, TrialError
from unvanish.examine import foretold
from unvanish.record.verdict import Outcome, RaceResult
from unvanish.runfolder import RUN_FILE, Checkup, conclude, make, unmake
from unvanish.trials import Ending, Script, Trial, run_trials

if TYPE_CHECKING:
    from unvanish.race import Treatment
    from unvanish.record.anatomy import Entry
    from unvanish.record.finding import Finding
    from unvanish.record.run import Run
    from unvanish.trials import News

PATCH = "unvanish.patch"
MOST_CANDIDATES = 4
KEPT = 2  # candidates that run with every seed
SEARCH_SHARE = 4  # a search for a rate trains for a fourth of the steps
FEWEST_SEARCH_STEPS = 20
# Factors on the learning rate that are tried, half a decade apart: down, up, or both ways where the finding does not say.
DOWN, UP = (0.3, 0.1, 0.03, 0.01), (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
FACTORS = {"learning-rate-too-high": DOWN, "learning-rate-too-low": UP}
AROUND = (0.1, 0.3, 3.0, 10.0)

Progress = Callable[["News"], None]


@dataclass(frozen=True, slots=True)
class Fix:
    """A checkup with its race, and the winner's patch (None: nothing to patch, or nothing won)."""

    checkup: Checkup
    patch: str | None

    @property
    def cured(self) -> bool:
        """Whether the script is healthy, or a cure was proved."""
        loud = any(finding.severity.loud for finding in self.checkup.findings)
        race = self.checkup.run.race
        return not loud or (race is not None and any(v.outcome is Outcome.CURED for v in race.verdicts[:1]))


def fix_script(
    script: Script,
    *,
    folder: Path,
    seeds: int = 3,
    remedies: Sequence[str] = (),
    jobs: int | None = None,
    max_steps: int | None = None,
    progress: Progress | None = None,
) -> Fix:
    """The script watched in a process of its own, its remedies raced against it on `seeds` seeds, told on a page in `folder`.

    `remedies` are the candidates to race, by default those that the findings ask for; names joined by "+" go together. The
    user's files are not touched; the patch is written to the folder. Raises ObservationError where the script fails as it is,
    UnknownRemedy for a name that no remedy has.
    """
    from unvanish.plugins import diagnose
    from unvanish.race import race

    wanted = _named(remedies)
    made = make(folder)
    with tempfile.TemporaryDirectory(prefix="unvanish-") as scratch:
        first = Trial(script, (), 0, Path(scratch) / "first", max_steps=max_steps)
        try:
            run, steps = _watched(first, progress)
        except ObservationError:
            unmake(folder, made)
            raise
        (folder / RUN_FILE).write_bytes((first.folder / RUN_FILE).read_bytes())
        findings = [finding for finding in diagnose(run) if finding.severity.loud]
        chosen, said = [], "The script is healthy, so nothing was raced."
        if findings or wanted:
            chosen, said = _treatments(run, findings, wanted, _Search(script, Path(scratch), jobs, steps, progress))
        told = RaceResult(script.name, (), None, (), (), said)
        if chosen:
            told = race(
                script,
                chosen,
                folder=Path(scratch),
                examine=diagnose,
                seeds=seeds,
                keep=None if wanted else KEPT,
                jobs=jobs,
                max_steps=max_steps,
                progress=progress,
            )
    return _handed_over(run, told, chosen, folder)


def _watched(first: Trial, progress: Progress | None) -> tuple[Run, int]:
    """The record of the script as it is, and its steps. Raises ObservationError where it fails."""
    from unvanish.plugins import diagnose
    from unvanish.record.journal import load

    (result,) = run_trials([first], examine=diagnose, jobs=1, progress=progress)
    if result.failure:
        raise ObservationError(f"{first.script.name} failed, so there is nothing to race: {result.failure}")
    return foretold(load(first.folder / RUN_FILE)), result.steps


def _handed_over(run: Run, told: RaceResult, chosen: Sequence[Treatment], folder: Path) -> Fix:
    """The race on the record and on the page, and the winner's patch in the folder."""
    from unvanish.race import patch_of
    from unvanish.record.journal import attach_race

    winner = next((each for each in chosen if each.remedies == told.winner), None)
    patch = patch_of(winner, Path.cwd()) if winner is not None else None
    if patch:
        (folder / PATCH).write_text(patch, encoding="utf-8")
    told = replace(told, line=_line(run, winner))
    attach_race(folder / RUN_FILE, told)
    return Fix(conclude(Ending(0, "finished"), replace(run, race=told), folder), patch)


def _line(run: Run, winner: Treatment | None) -> str | None:
    """The line that applies the winner by hand before the optimizer is built; None where there is none, or it goes elsewhere."""
    from unvanish.dispensary import shelf
    from unvanish.patch import suggestion

    entry = _entry(run)
    if winner is None or entry is None or any(shelf()[name].family == "optimisation" for name in winner.remedies):
        return None
    return suggestion(entry.expression, winner.remedies)


def _entry(run: Run) -> Entry | None:
    """Where a change can enter the script."""
    return next((network.entry for network in run.anatomy.networks if network.entry is not None), None)


@dataclass(frozen=True, slots=True)
class _Search:
    """What a search for a learning rate needs. `steps` is the length of the whole training."""

    script: Script
    folder: Path
    jobs: int | None
    steps: int
    progress: Progress | None


def _named(remedies: Sequence[str]) -> list[tuple[str, ...]]:
    """The candidates that a person asked for. Raises UnknownRemedy."""
    from unvanish.dispensary import shelf
    from unvanish.remedies import remedy

    known = shelf()
    return [tuple(remedy(name.strip(), known).name for name in text.split("+")) for text in remedies]


def _treatments(
    run: Run, findings: Sequence[Finding], wanted: Sequence[tuple[str, ...]], search: _Search
) -> tuple[list[Treatment], str]:
    """The candidates as edits, best first, and what to say where there is none."""
    entry = _entry(run)
    if entry is None:
        return [], "No line of the script is known at which a remedy could be applied: none builds an optimizer for its network."
    chosen: list[Treatment] = []
    refused: list[str] = []
    for names in wanted or _advised(findings):
        if len(chosen) == MOST_CANDIDATES and not wanted:
            break
        try:
            made = _treatment(entry, names, findings, search)
        except (TrialError, NotApplicable) as why:
            refused.append(f"{' + '.join(names)}: {why}")
            continue
        chosen.append(made)
    if chosen:
        return chosen, ""
    return [], "No remedy could be tried. " + (" ".join(refused) or "The findings ask for a change that no remedy makes.")


def _advised(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """The candidates for some findings, one for each leading remedy and with its partner."""
    from unvanish.dispensary import shelf
    from unvanish.remedies.combinations import candidates

    root = findings[0]
    codes = (root.code, root.cause.code) if root.cause is not None else (root.code,)
    advised = [name for finding in findings for name in finding.remedies]
    best: dict[str, tuple[str, ...]] = {}
    for names in candidates(advised, codes, shelf()):
        if len(names) > len(best.get(names[0], ())):
            best[names[0]] = names
    return list(best.values())


def _treatment(entry: Entry, names: tuple[str, ...], findings: Sequence[Finding], search: _Search) -> Treatment:
    from unvanish.dispensary import shelf
    from unvanish.race import treatment

    if names == ("learning-rate",):
        return _rate(entry, findings, search)
    late = any(shelf()[name].family == "optimisation" for name in names)
    return treatment(entry, names, after_optimizer=late)


def _rate(entry: Entry, findings: Sequence[Finding], search: _Search) -> Treatment:
    """The learning rate, of some around the script's own, with which a short training gets furthest."""
    from unvanish.race import rate_treatment

    factors = next((FACTORS[finding.code] for finding in findings if finding.code in FACTORS), AROUND)
    options = [rate_treatment(entry, factor) for factor in factors]
    steps = max(FEWEST_SEARCH_STEPS, search.steps // SEARCH_SHARE)
    trials = [
        Trial(search.script, option.remedies, 0, search.folder / f"rate-{factor:g}", option.edits, max_steps=steps)
        for factor, option in zip(factors, options, strict=True)
    ]
    results = run_trials(trials, examine=lambda _: (), jobs=search.jobs or 2, progress=search.progress)
    ended = [
        (result.final_loss, at) for at, result in enumerate(results) if result.failure is None and result.final_loss < float("inf")
    ]
    if not ended:
        raise NotApplicable("no learning rate that was tried keeps the loss finite")
    return options[min(ended)[1]]
