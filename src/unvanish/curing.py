"""Cures for an unmodified script: it is watched, its findings' remedies are planned, written as edits and raced against it, and the
winner comes as a patch. The rooms do it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish import candidates, rehearsal
from unvanish.errors import ObservationError, UsageError
from unvanish.examine import foretold
from unvanish.record.verdict import Outcome, RaceResult
from unvanish.runfolder import RUN_FILE, Checkup, conclude, make, unmake
from unvanish.trials import Ending, Script, Trial
from unvanish.trials.printed import is_merit

if TYPE_CHECKING:
    from unvanish.race import Treatment
    from unvanish.record.finding import Finding
    from unvanish.record.run import Run
    from unvanish.record.verdict import TrialResult
    from unvanish.trials.engines.engine import Engine

PATCH, TRIALS = "unvanish.patch", "trials"
SEEDS = 3
MORE_SEEDS = 2  # for a script whose losses differ from run to run with the same seed


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person may ask of a fix. `remedies` are the candidates, by default those that the findings ask for; names joined by "+"
    go together. `metric` is the figure to compare by, `max_steps` ends every trial."""

    seeds: int = SEEDS
    remedies: tuple[str, ...] = ()
    max_steps: int | None = None
    metric: str | None = None


@dataclass(frozen=True, slots=True)
class Fix:
    """A checkup with its race, and the winner's patch (None: nothing to patch, or nothing won), also as whole texts by file."""

    checkup: Checkup
    patch: str | None
    edits: tuple[tuple[Path, str], ...] = ()

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
    engine: Engine,
    wishes: Wishes = Wishes(),  # noqa: B008  (frozen)
    stage: Callable[[str, int], None] = lambda text, goals: None,
    resume: bool = False,
) -> Fix:
    """The script watched in a process of its own, its remedies raced against it, told on a page in `folder`.

    The user's files are not touched; the patch is written to the folder. With `resume`, trials that ended in an earlier fix of the
    same folder are not run again. Raises ObservationError where the script fails as it is, UnknownRemedy for a name that no remedy
    has, UsageError for a metric that the script does not report.
    """
    from unvanish.trials.engines.ledger import Ledger

    wanted = candidates.named(wishes.remedies)
    made = [] if resume and folder.is_dir() else make(folder)
    try:
        return _Fixing(script, folder, Ledger(engine), wishes, stage).run(wanted)
    except (ObservationError, UsageError):
        if not resume:
            shutil.rmtree(folder / TRIALS, ignore_errors=True)
            unmake(folder, made)
        raise


@dataclass(slots=True)
class _Fixing:
    """One fix under way; `notes` collects what a person should know besides the verdict."""

    script: Script
    folder: Path
    engine: Engine
    wishes: Wishes
    stage: Callable[[str, int], None]
    notes: list[str] = field(default_factory=list[str])

    def run(self, wanted: Sequence[tuple[str, ...]]) -> Fix:
        from unvanish.plugins import diagnose

        run, control = self._watched()
        findings = [finding for finding in diagnose(run) if finding.severity.loud]
        treatments: Sequence[Treatment] = ()
        told = RaceResult(self.script.name, (), None, (), (), "The control is fine: nothing was found, so nothing was raced.")
        names = wanted or (candidates.advised(findings) if findings else [])
        if findings or wanted:
            treatments, told = self._raced(run, control, names, findings)
        return self._handed_over(run, replace(told, notes=tuple(self.notes)), treatments)

    def _watched(self) -> tuple[Run, TrialResult]:
        """The record of the script as it is, and what its trial came to."""
        from unvanish.record.journal import load

        first = self._trial("control-0")
        self.stage("watching it as it is", 1)
        found = self.engine.advance([(first, None)])
        if not found:
            raise KeyboardInterrupt
        (result,) = found
        if result.failure and not result.steps:
            raise ObservationError(f"{self.script.name} failed, so there is nothing to race: {result.failure}")
        self._require_metric(result)
        shutil.copyfile(first.folder / RUN_FILE, self.folder / RUN_FILE)
        return foretold(load(first.folder / RUN_FILE)), result

    def _trial(self, name: str, **options: object) -> Trial:
        return replace(Trial(self.script, (), 0, self.folder / TRIALS / name, max_steps=self.wishes.max_steps), **options)  # pyright: ignore[reportArgumentType]

    def _require_metric(self, result: TrialResult) -> None:
        metric, reported = self.wishes.metric, [name for name, _ in result.metrics]
        if metric is None or metric == "loss" or metric in reported:
            return
        known = ", ".join(["loss", *filter(is_merit, reported), *(name for name in reported if not is_merit(name))])
        raise UsageError(f"--metric {metric}: {self.script.name} reports no such figure; it reports {known}")

    def _raced(
        self, run: Run, control: TrialResult, names: Sequence[tuple[str, ...]], findings: Sequence[Finding]
    ) -> tuple[Sequence[Treatment], RaceResult]:
        from unvanish.race import KEPT, Course, race

        blueprint, deterministic = self._rehearsed(run, names)
        entry = (blueprint.entry if blueprint else None) or next((n.entry for n in run.anatomy.networks if n.entry), None)
        choice = candidates.chosen(blueprint, entry, names, findings)
        if not choice.treatments:
            reasons = " ".join(f"{name}: {why}." for name, why in choice.refused)
            said = reasons or "The findings ask for a change that no remedy makes."
            return (), RaceResult(self.script.name, (), None, (), (), f"No remedy could be tried. {said}")
        seeds = self.wishes.seeds
        if not deterministic and seeds > 1:
            seeds += MORE_SEEDS
            self.notes.append(
                f"The script is not deterministic: with the same seed its losses differ from run to run. {seeds} seeds were used."
            )
        course = Course(
            script=self.script,
            engine=self.engine,
            folder=self.folder / TRIALS,
            steps=control.steps,
            seeds=seeds,
            keep=len(names) if self.wishes.remedies else KEPT,
            max_steps=self.wishes.max_steps,
            metric=self.wishes.metric,
            stage=self.stage,
        )
        return choice.treatments, race(choice.treatments, control, course)

    def _rehearsed(self, run: Run, names: Sequence[tuple[str, ...]]) -> tuple[rehearsal.Blueprint | None, bool]:
        """The plans for the candidates, and whether the script repeats itself with the same seed."""
        from unvanish.record.journal import load

        self.stage(f"rehearsing {len(names)} candidate{'s' if len(names) > 1 else ''}", 1)
        steps = min(rehearsal.STEPS, self.wishes.max_steps or rehearsal.STEPS)
        trial = self._trial("rehearsal", look=rehearsal.LOOK, candidates=tuple(names), max_steps=steps)
        if not self.engine.advance([(trial, None)]):
            raise KeyboardInterrupt
        path = trial.folder / RUN_FILE
        if not path.is_file():
            return rehearsal.read(trial.folder), True
        again, first = load(path).objective()[1], run.objective()[1]
        count = min(len(again), len(first))
        return rehearsal.read(trial.folder), bool((again[:count] == first[:count]).all())

    def _handed_over(self, run: Run, told: RaceResult, treatments: Sequence[Treatment]) -> Fix:
        """The race on the record and on the page, and the winner's patch in the folder."""
        from unvanish.race import patch_of
        from unvanish.record.journal import attach_race

        won = next((t for t in treatments if (t.remedies, t.variant) == (told.winner, told.winner_variant)), None)
        patch = patch_of(won, Path.cwd()) if won is not None else None
        if patch:
            (self.folder / PATCH).write_text(patch, encoding="utf-8")
        attach_race(self.folder / RUN_FILE, told)
        if not told.stopped:
            shutil.rmtree(self.folder / TRIALS, ignore_errors=True)
        return Fix(conclude(Ending(0, "finished"), replace(run, race=told), self.folder), patch, won.edits if won is not None else ())
