"""Fixes an unmodified script: watches it, plans remedies for its findings, races them as edits, writes the winner as a patch."""

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
from unvanish.project_files import find_project
from unvanish.race import KEPT, RaceSettings, checkpoint_prover, ignore_part, plan_parts, race, write_patch
from unvanish.record.network_changes import PatchContext
from unvanish.record.races.candidate import CONTROL
from unvanish.record.races.race_plan import CONTROL_ID, PLANNING_ID, PlannedPart, RacePart, RacePlan
from unvanish.record.races.verdict import TRAINING_SCORE, Outcome, RaceResult
from unvanish.record.storage.file_names import PATCH_FILE, RUN_FILE
from unvanish.record.storage.journal import attach_race, load
from unvanish.trials import Script, ScriptExit, Trial
from unvanish.trials.engines.result_cache import ResultCache
from unvanish.trials.isolation.workplace import has_workplace
from unvanish.trials.isolation.writes import read_writes
from unvanish.trials.metrics.metric_names import improves_upwards, is_held_out_metric
from unvanish.trials.progress import read_progress
from unvanish.trials.trial import PROGRESS_FILE, WRITES_FILE
from unvanish.workflows import candidate_planning, candidate_selection
from unvanish.workflows.candidate_selection import CandidateSelection, CandidateWriter
from unvanish.workflows.run_directory import Checkup, conclude, create_folder, release_folder, remove_folder

if TYPE_CHECKING:
    from unvanish.race import EditedCandidate
    from unvanish.record.finding import Finding
    from unvanish.record.races.verdict import TrialResult
    from unvanish.record.run import Run
    from unvanish.trials.engines.engine import Engine

TRIALS = "trials"
SEEDS = 3
MAX_REQUESTED_IN_FULL = 4  # candidates that a person asked for, and that all run with every seed
EXTRA_SEEDS = 2  # for a script whose losses differ from run to run with the same seed


@dataclass(frozen=True, slots=True)
class FixOptions:
    """What a person may choose about a fix.

    Arguments:
        seeds: how many seeds the leaders run with.
        remedies: the candidates, by default those that the findings ask for; names joined by "+" go together.
        max_steps: ends every trial after so many steps.
        metric: the metric to compare by.
        deadline: when to end, on the monotonic clock in seconds.
        full: run every candidate to its end with every seed.
    """

    seeds: int = SEEDS
    remedies: tuple[str, ...] = ()
    max_steps: int | None = None
    metric: str | None = None
    deadline: float = math.inf
    full: bool = False


def ignore_plan(parts: Sequence[PlannedPart]) -> None:
    """Does nothing when the parts of a race are planned."""


@dataclass(frozen=True, slots=True)
class FixCallbacks:
    """What is called while a fix goes on: `on_part` with each part as it begins, `on_plan` with the parts that are to come."""

    on_part: Callable[[RacePart], None] = ignore_part
    on_plan: Callable[[Sequence[PlannedPart]], None] = ignore_plan


DEFAULT_OPTIONS, NO_CALLBACKS = FixOptions(), FixCallbacks()


@dataclass(frozen=True, slots=True)
class Fix:
    """A checkup with its race, and the winner's patch (None: nothing to patch, or nothing won), also as whole texts by file.

    `isolation` says in a sentence that the trials left nothing behind; "" where they did, and a note of the race says what.
    """

    checkup: Checkup
    patch: str | None
    edits: tuple[tuple[Path, str], ...] = ()
    isolation: str = ""

    @property
    def cured(self) -> bool:
        """Whether the script is healthy, or a cure was proved."""
        loud = any(finding.severity.loud for finding in self.checkup.findings)
        result = self.checkup.run.race
        return not loud or (result is not None and any(v.outcome is Outcome.CURED for v in result.verdicts[:1]))


def fix_script(
    script: Script,
    *,
    folder: Path,
    engine: Engine,
    options: FixOptions = DEFAULT_OPTIONS,
    callbacks: FixCallbacks = NO_CALLBACKS,
    resume: bool = False,
    write: CandidateWriter = candidate_selection.write_in_source,
) -> Fix:
    """The script watched in a process of its own, its remedies raced against it, reported on a page in `folder`.

    The user's files are not touched; the patch is written to the folder. With `resume`, trials that ended in an earlier fix of the
    same folder are not run again. `write` writes the candidates. Raises ObservationError where the script fails as it is,
    UnknownRemedy for a name that no remedy has, UsageError for a metric that the script does not report.
    """
    combinations = candidate_selection.parse_names(options.remedies)
    created = [] if resume and folder.is_dir() else create_folder(folder)
    fix_run = _FixRun(script, folder / TRIALS, ResultCache(engine), options, callbacks, write)
    try:
        preparation = fix_run.prepare(combinations)
    except (ObservationError, UsageError):
        if not resume:
            shutil.rmtree(folder / TRIALS, ignore_errors=True)
            remove_folder(folder, created)
        raise
    except BaseException:
        release_folder(folder)
        raise
    return _store(preparation, fix_run.race(preparation), folder)


def plan_script(
    script: Script, *, engine: Engine, options: FixOptions = DEFAULT_OPTIONS, callbacks: FixCallbacks = NO_CALLBACKS
) -> RacePlan:
    """What `fix_script` would try, in what order, why, and what that would cost.

    The script is run once as it is, and its first steps once more to plan on them.
    """
    combinations = candidate_selection.parse_names(options.remedies)
    with tempfile.TemporaryDirectory(prefix="unvanish-") as folder:
        fix_run = _FixRun(script, Path(folder), engine, options, callbacks, candidate_selection.write_in_source)
        return fix_run.prepare(combinations).plan


@dataclass(frozen=True, slots=True)
class _Preparation:
    """A script that was watched and planned on. `run_file` is its record."""

    run: Run
    run_file: Path
    control: TrialResult
    findings: Sequence[Finding]
    selection: CandidateSelection
    plan: RacePlan
    isolation: str


@dataclass(slots=True)
class _FixRun:
    """One fix under way; `notes` collects what a person should know besides the verdict."""

    script: Script
    trials: Path
    engine: Engine
    options: FixOptions
    callbacks: FixCallbacks
    write: CandidateWriter
    notes: list[str] = field(default_factory=list[str])

    def prepare(self, requested: Sequence[tuple[str, ...]]) -> _Preparation:
        """The script watched and, where there is something to try, planned on."""
        from unvanish.plugins.rules import diagnose

        began = time.monotonic()
        run, control, file = self._watch_control()
        findings = [finding for finding in diagnose(run) if finding.severity.loud]
        combinations = requested or (candidate_selection.combinations_for(findings) if findings else [])
        selection, seeds = CandidateSelection(()), self.options.seeds
        if combinations:
            selection, seeds = self._plan_candidates(run, combinations, findings)
        selection = self._limit_to_deadline(selection, control, seeds, time.monotonic() - began)
        candidates = selection.candidates
        plan = RacePlan(
            script=self.script.name,
            steps=control.steps,
            seconds=float(run.ended_s[-1]) if len(run.ended_s) else math.nan,
            seeds=seeds,
            candidates=tuple(candidate_selection.describe(each, findings, requested=bool(requested)) for each in candidates),
            parts=self._parts(candidates, control, seeds) if candidates else (),
            refused=selection.refused,
        )
        isolation = read_writes(file.parent / WRITES_FILE).statement if has_workplace(file.parent) else ""
        return _Preparation(run, file, control, findings, selection, plan, isolation)

    def race(self, preparation: _Preparation) -> RaceResult:
        """What the race proves; or why there is none."""
        candidates = preparation.selection.candidates
        if not candidates:
            reason = _why_no_race(preparation, requested=bool(self.options.remedies))
            return RaceResult(self.script.name, (), None, (), (), reason)
        settings = RaceSettings(
            script=self.script,
            engine=self.engine,
            folder=self.trials,
            steps=preparation.control.steps,
            seeds=preparation.plan.seeds,
            keep=self._keep(candidates),
            all_seeds=self._runs_in_full(candidates),
            max_steps=self.options.max_steps,
            metric=self.options.metric,
            on_part=self.callbacks.on_part,
            prove_checkpoint=checkpoint_prover(self.script, self.engine, self.trials),
        )
        self.callbacks.on_plan(preparation.plan.parts)
        result = race(candidates, preparation.control, settings)
        return replace(result, notes=(*self.notes, *result.notes))

    def _parts(self, candidates: Sequence[EditedCandidate], control: TrialResult, seeds: int) -> tuple[PlannedPart, ...]:
        keep, all_seeds = self._keep(candidates), self._runs_in_full(candidates)
        return plan_parts(len(candidates), steps=control.steps, seeds=seeds, keep=keep, all_seeds=all_seeds)

    def _keep(self, candidates: Sequence[EditedCandidate]) -> int:
        """How many candidates run to the end: a few that a person asked for all do; of many, or of our own choice, the leaders."""
        return len(candidates) if self._runs_in_full(candidates) else KEPT

    def _runs_in_full(self, candidates: Sequence[EditedCandidate]) -> bool:
        return self.options.full or (bool(self.options.remedies) and len(candidates) <= MAX_REQUESTED_IN_FULL)

    def _limit_to_deadline(
        self, selection: CandidateSelection, control: TrialResult, seeds: int, spent_s: float
    ) -> CandidateSelection:
        """As many of the candidates, the first ones, as can be raced in the time that is left; one at least.

        `spent_s` is what the control and the planning took, which is more than one run.
        """
        kept = list(selection.candidates)
        left_s = (self.options.deadline - time.monotonic()) * self.engine.capacity
        while len(kept) > 1:
            parts = self._parts(kept, control, seeds)
            if spent_s * sum(part.steps for part in parts if not part.if_needed) / max(1, control.steps) <= left_s:
                break
            kept.pop()
        left_out = len(selection.candidates) - len(kept)
        if left_out:
            self.notes.append(f"{left_out} further candidates were left out to keep to the time given.")
        return replace(selection, candidates=tuple(kept))

    def _watch_control(self) -> tuple[Run, TrialResult, Path]:
        """The record of the script as it is, what its trial came to, and the file of the record."""
        trial = self._trial("control-0")
        self.callbacks.on_part(RacePart(CONTROL_ID, "watching it as it is", 1))
        results = self.engine.advance([(trial, None)])
        if not results:
            progress = read_progress(trial.folder / PROGRESS_FILE)
            raise ObservationError(
                f"{self.script.name} was ended after {progress.step if progress else 0} steps, before it had run once as it is, so "
                "nothing is known of it; give it more --minutes, or a shorter training with --steps"
            )
        (result,) = results
        if result.failure and not result.steps:
            raise ObservationError(f"{self.script.name} failed, so there is nothing to race: {result.failure}")
        self._require_metric(result)
        if warning := read_writes(trial.folder / WRITES_FILE).warning:
            self.notes.append(warning)
        return with_prediction(load(trial.folder / RUN_FILE)), result, trial.folder / RUN_FILE

    def _trial(self, name: str, **changes: Any) -> Trial:
        trial = Trial(self.script, CONTROL, 0, self.trials / name, max_steps=self.options.max_steps, isolated=True)
        return replace(trial, **changes)

    def _require_metric(self, result: TrialResult) -> None:
        metric, reported = self.options.metric, [name for name, _ in result.metrics if name != TRAINING_SCORE]
        if metric is None or metric == "loss" or metric in reported:
            if metric is not None and improves_upwards(metric) is None:
                self.notes.append(f"Whether more of {metric} is better, its name does not say; it was taken to be so.")
            return
        known = ", ".join(["loss", *sorted(reported, key=lambda name: not is_held_out_metric(name))])
        raise UsageError(f"--metric {metric}: {self.script.name} reports no such figure; it reports {known}")

    def _plan_candidates(
        self, run: Run, combinations: Sequence[tuple[str, ...]], findings: Sequence[Finding]
    ) -> tuple[CandidateSelection, int]:
        """The candidates as edits, and the seeds to race with: more where the script does not repeat itself with the same seed."""
        count = len(combinations)
        self.callbacks.on_part(RacePart(PLANNING_ID, f"rehearsing {count} candidate{'s' if count > 1 else ''}", 1))
        steps = min(candidate_planning.STEPS, self.options.max_steps or candidate_planning.STEPS)
        trial = self._trial(
            "rehearsal", first_step_function=candidate_planning.PLANNING_FUNCTION, combinations=tuple(combinations), max_steps=steps
        )
        self.engine.advance([(trial, None)])
        context, path, seeds = candidate_planning.read_context(trial.folder), trial.folder / RUN_FILE, self.options.seeds
        if path.is_file() and seeds > 1 and not _have_equal_losses(load(path), run):
            seeds += EXTRA_SEEDS
            self.notes.append(
                "The script is not deterministic: with the same seed its losses differ from run to run. "
                f"So {seeds} seeds are raced in place of {self.options.seeds}."
            )
        entry = next((network.entry for network in run.structure.networks if network.entry is not None), None)
        folders = find_project(self.script.path, self.script.module, Path.cwd()).folders
        context = context or PatchContext(entry, project_folders=tuple(map(str, folders)))
        return candidate_selection.select_candidates(context, combinations, findings, self.write), seeds


def _have_equal_losses(one: Run, other: Run) -> bool:
    """Whether two runs of equal seeds have equal losses, as far as both go."""
    first, second = one.objective()[1], other.objective()[1]
    count = min(len(first), len(second))
    return bool((first[:count] == second[:count]).all())


def _why_no_race(preparation: _Preparation, *, requested: bool) -> str:
    if not preparation.findings and not requested:
        return "The control is fine: nothing was found in the script as it is, so nothing was raced."
    reasons = " ".join(f"{name}: {reason.rstrip('.')}." for name, reason in preparation.selection.refused)
    return f"No remedy could be tried. {reasons or 'The findings ask for a change that no remedy makes.'}"


def _store(preparation: _Preparation, result: RaceResult, folder: Path) -> Fix:
    """The race on the record and on the page, and the winner's patch in the folder."""
    winner = next((edited for edited in preparation.selection.candidates if edited.candidate == result.winner), None)
    patch = write_patch(winner, Path.cwd()) if winner is not None else None
    if patch:
        (folder / PATCH_FILE).write_text(patch, encoding="utf-8")
    result = replace(result, patch=patch)
    shutil.copyfile(preparation.run_file, folder / RUN_FILE)
    attach_race(folder / RUN_FILE, result)
    if not result.stopped:
        shutil.rmtree(folder / TRIALS, ignore_errors=True)
    checkup = conclude(ScriptExit(0, "finished"), replace(preparation.run, race=result), folder)
    return Fix(checkup, patch, winner.edits if winner is not None else (), preparation.isolation)
