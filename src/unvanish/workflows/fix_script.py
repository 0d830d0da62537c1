"""Cures for an unmodified script: it is watched, its findings' remedies are planned, written as edits and raced against it, and the
winner comes as a patch. The rooms do it.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unvanish.errors import ObservationError, UsageError
from unvanish.examination import with_prediction
from unvanish.race import ignore_stage
from unvanish.record.change import PatchContext
from unvanish.record.race_plan import PlannedPart, RacePlan
from unvanish.record.verdict import TRAINING_SCORE, Outcome, RaceResult
from unvanish.trials import Ending, Script, Trial
from unvanish.trials.isolation.writes import written
from unvanish.trials.metrics.printed_metrics import is_merit
from unvanish.trials.progress import read_progress
from unvanish.trials.trial import PROGRESS, WRITES
from unvanish.workflows import candidate_planning, candidates
from unvanish.workflows.candidates import CandidateSelection, CandidateWriter
from unvanish.workflows.run_directory import RUN_FILE, Checkup, conclude, make, unmake

if TYPE_CHECKING:
    from unvanish.race import Candidate
    from unvanish.record.finding import Finding
    from unvanish.record.run import Run
    from unvanish.record.verdict import TrialResult
    from unvanish.trials.engines.engine import Engine

PATCH, TRIALS = "unvanish.patch", "trials"
SEEDS = 3
FEW = 4  # candidates that a person asked for, and that all run with every seed
MORE_SEEDS = 2  # for a script whose losses differ from run to run with the same seed


@dataclass(frozen=True, slots=True)
class FixOptions:
    """What a person may ask of a fix. `remedies` are the candidates, by default those that the findings ask for; names joined
    by "+" go together. `metric` is the figure to compare by, `max_steps` ends every trial."""

    seeds: int = SEEDS
    remedies: tuple[str, ...] = ()
    max_steps: int | None = None
    metric: str | None = None
    deadline: float = math.inf
    full: bool = False


def ignore_parts(parts: Sequence[PlannedPart]) -> None:
    """Tells nobody."""


DEFAULT_OPTIONS = FixOptions()


@dataclass(frozen=True, slots=True)
class FixCallbacks:
    """Who is told how a fix goes: of each part as it begins, with the number of its trials, and of the parts that are to come."""

    stage: Callable[[str, int], None] = ignore_stage
    expect: Callable[[Sequence[PlannedPart]], None] = ignore_parts


NO_CALLBACKS = FixCallbacks()


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
    wishes: FixOptions = DEFAULT_OPTIONS,
    told: FixCallbacks = NO_CALLBACKS,
    resume: bool = False,
    author: CandidateWriter = candidates.in_source,
) -> Fix:
    """The script watched in a process of its own, its remedies raced against it, told on a page in `folder`.

    The user's files are not touched; the patch is written to the folder. With `resume`, trials that ended in an earlier fix of the
    same folder are not run again. `author` writes the candidates. Raises ObservationError where the script fails as it is,
    UnknownRemedy for a name that no remedy has, UsageError for a metric that the script does not report.
    """
    from unvanish.trials.engines.result_cache import ResultCache

    wanted = candidates.named(wishes.remedies)
    made = [] if resume and folder.is_dir() else make(folder)
    fixing = _FixRun(script, folder / TRIALS, ResultCache(engine), wishes, told, author)
    try:
        prepared = fixing.prepare(wanted)
    except (ObservationError, UsageError):
        if not resume:
            shutil.rmtree(folder / TRIALS, ignore_errors=True)
            unmake(folder, made)
        raise
    return _handed_over(prepared, fixing.race(prepared), folder)


def plan_script(
    script: Script, *, engine: Engine, wishes: FixOptions = DEFAULT_OPTIONS, told: FixCallbacks = NO_CALLBACKS
) -> RacePlan:
    """What `fix_script` would try, in what order, why, and what that would cost. The script is run once as it is, and rehearsed."""
    wanted = candidates.named(wishes.remedies)
    with tempfile.TemporaryDirectory(prefix="unvanish-") as folder:
        return _FixRun(script, Path(folder), engine, wishes, told, candidates.in_source).prepare(wanted).plan


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A script that was watched and rehearsed. `run_file` is its record; `seeds` may be more than were wished for."""

    run: Run
    run_file: Path
    control: TrialResult
    findings: Sequence[Finding]
    choice: CandidateSelection
    plan: RacePlan


@dataclass(slots=True)
class _FixRun:
    """One fix under way; `notes` collects what a person should know besides the verdict."""

    script: Script
    trials: Path
    engine: Engine
    wishes: FixOptions
    told: FixCallbacks
    author: CandidateWriter
    notes: list[str] = field(default_factory=list[str])

    def prepare(self, wanted: Sequence[tuple[str, ...]]) -> _Prepared:
        """The script watched and, where there is something to try, rehearsed."""
        from unvanish.plugins.rules import diagnose

        began = time.monotonic()
        run, control, file = self._watched()
        findings = [finding for finding in diagnose(run) if finding.severity.loud]
        names = wanted or (candidates.advised(findings) if findings else [])
        choice, seeds = self._rehearsed(run, names, findings) if names else (CandidateSelection(()), self.wishes.seeds)
        choice = self._affordable(choice, control, seeds, time.monotonic() - began)
        treatments = choice.treatments
        parts = self._parts(treatments, control, seeds) if treatments else ()
        plan = RacePlan(
            script=self.script.name,
            steps=control.steps,
            seconds=float(run.ended_s[-1]) if len(run.ended_s) else math.nan,
            seeds=seeds,
            candidates=tuple(candidates.as_planned(each, findings, asked=bool(wanted)) for each in treatments),
            parts=parts,
            refused=choice.refused,
        )
        return _Prepared(run, file, control, findings, choice, plan)

    def race(self, prepared: _Prepared) -> RaceResult:
        """What the race proves; or why there is none."""
        from unvanish.race import RaceSettings, race

        treatments = prepared.choice.treatments
        if not treatments:
            return RaceResult(self.script.name, (), None, (), (), _unraced(prepared, asked=bool(self.wishes.remedies)))
        course = RaceSettings(
            script=self.script,
            engine=self.engine,
            folder=self.trials,
            steps=prepared.control.steps,
            seeds=prepared.plan.seeds,
            keep=self._keep(treatments),
            all_seeds=self._in_full(treatments),
            max_steps=self.wishes.max_steps,
            metric=self.wishes.metric,
            stage=self.told.stage,
        )
        self.told.expect(prepared.plan.parts)
        return replace(race(treatments, prepared.control, course), notes=tuple(self.notes))

    def _parts(self, treatments: Sequence[Candidate], control: TrialResult, seeds: int) -> tuple[PlannedPart, ...]:
        from unvanish.race import planned_parts

        count, keep = len(treatments), self._keep(treatments)
        return planned_parts(count, steps=control.steps, seeds=seeds, keep=keep, all_seeds=self._in_full(treatments))

    def _keep(self, treatments: Sequence[Candidate]) -> int:
        """How many candidates run to the end: a few that a person asked for all do; of many, or of our own choice, the leaders."""
        from unvanish.race import KEPT

        return len(treatments) if self._in_full(treatments) else KEPT

    def _in_full(self, treatments: Sequence[Candidate]) -> bool:
        return self.wishes.full or (bool(self.wishes.remedies) and len(treatments) <= FEW)

    def _affordable(self, choice: CandidateSelection, control: TrialResult, seeds: int, spent_s: float) -> CandidateSelection:
        """As many of the candidates, the first ones, as can be raced in the time that is left; one at least.

        `spent_s` is what the control and the rehearsal took, which is more than one run.
        """
        kept = list(choice.treatments)
        left_s = (self.wishes.deadline - time.monotonic()) * self.engine.capacity
        while len(kept) > 1:
            parts = self._parts(kept, control, seeds)
            if spent_s * sum(part.steps for part in parts if not part.if_needed) / max(1, control.steps) <= left_s:
                break
            kept.pop()
        if len(kept) < len(choice.treatments):
            self.notes.append(f"{len(choice.treatments) - len(kept)} further candidates were left out to keep to the time given.")
        return replace(choice, treatments=tuple(kept))

    def _watched(self) -> tuple[Run, TrialResult, Path]:
        """The record of the script as it is, what its trial came to, and the file of the record."""
        from unvanish.record.journal import load

        first = self._trial("control-0")
        self.told.stage("watching it as it is", 1)
        found = self.engine.advance([(first, None)])
        if not found:
            reached = read_progress(first.folder / PROGRESS)
            raise ObservationError(
                f"{self.script.name} was ended after {reached.step if reached else 0} steps, before it had run once as it is, so "
                "nothing is known of it; give it more --minutes, or a shorter training with --steps"
            )
        (result,) = found
        if result.failure and not result.steps:
            raise ObservationError(f"{self.script.name} failed, so there is nothing to race: {result.failure}")
        self._require_metric(result)
        if warning := written(first.folder / WRITES).warning:
            self.notes.append(warning)
        return with_prediction(load(first.folder / RUN_FILE)), result, first.folder / RUN_FILE

    def _trial(self, name: str, **options: Any) -> Trial:
        trial = Trial(self.script, (), 0, self.trials / name, max_steps=self.wishes.max_steps, apart=True)
        return replace(trial, **options)

    def _require_metric(self, result: TrialResult) -> None:
        metric, reported = self.wishes.metric, [name for name, _ in result.metrics if name != TRAINING_SCORE]
        if metric is None or metric == "loss" or metric in reported:
            return
        known = ", ".join(["loss", *sorted(reported, key=lambda name: not is_merit(name))])
        raise UsageError(f"--metric {metric}: {self.script.name} reports no such figure; it reports {known}")

    def _rehearsed(self, run: Run, names: Sequence[tuple[str, ...]], findings: Sequence[Finding]) -> tuple[CandidateSelection, int]:
        """The candidates as edits, and the seeds to race with: more where the script does not repeat itself with the same seed."""
        from unvanish.record.journal import load

        self.told.stage(f"rehearsing {len(names)} candidate{'s' if len(names) > 1 else ''}", 1)
        steps = min(candidate_planning.STEPS, self.wishes.max_steps or candidate_planning.STEPS)
        trial = self._trial("rehearsal", look=candidate_planning.LOOK, candidates=tuple(names), max_steps=steps)
        self.engine.advance([(trial, None)])
        blueprint, path, seeds = candidate_planning.read(trial.folder), trial.folder / RUN_FILE, self.wishes.seeds
        if path.is_file() and seeds > 1 and not _agree(load(path), run):
            seeds += MORE_SEEDS
            self.notes.append(
                "The script is not deterministic: with the same seed its losses differ from run to run. "
                f"So {seeds} seeds are raced in place of {self.wishes.seeds}."
            )
        entry = next((network.entry for network in run.anatomy.networks if network.entry is not None), None)
        return candidates.chosen(blueprint or PatchContext(entry), names, findings, self.author), seeds


def _agree(one: Run, other: Run) -> bool:
    """Whether two runs of equal seeds have equal losses, as far as both go."""
    first, second = one.objective()[1], other.objective()[1]
    count = min(len(first), len(second))
    return bool((first[:count] == second[:count]).all())


def _unraced(prepared: _Prepared, *, asked: bool) -> str:
    if not prepared.findings and not asked:
        return "The control is fine: nothing was found in the script as it is, so nothing was raced."
    reasons = " ".join(f"{name}: {why.rstrip('.')}." for name, why in prepared.choice.refused)
    return f"No remedy could be tried. {reasons or 'The findings ask for a change that no remedy makes.'}"


def _handed_over(prepared: _Prepared, race: RaceResult, folder: Path) -> Fix:
    """The race on the record and on the page, and the winner's patch in the folder."""
    from unvanish.race import patch_of
    from unvanish.record.journal import attach_race

    won = next((t for t in prepared.choice.treatments if (t.remedies, t.variant) == (race.winner, race.winner_variant)), None)
    patch = patch_of(won, Path.cwd()) if won is not None else None
    if patch:
        (folder / PATCH).write_text(patch, encoding="utf-8")
    race = replace(race, patch=patch)
    shutil.copyfile(prepared.run_file, folder / RUN_FILE)
    attach_race(folder / RUN_FILE, race)
    if not race.stopped:
        shutil.rmtree(folder / TRIALS, ignore_errors=True)
    checkup = conclude(Ending(0, "finished"), replace(prepared.run, race=race), folder)
    return Fix(checkup, patch, won.edits if won is not None else ())
