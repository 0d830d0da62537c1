"""Runs a race on an unmodified script: the control and every candidate, on the same seeds and for the same number of steps.

Candidates start in waves, the most promising first, and with the first seed: at each rung the weaker ones wait, the others go on
where they stand. Those that wait go on, and a further wave starts, only where no cure is in sight. Those that lead run with the
other seeds, against the control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from unvanish.errors import UsageError
from unvanish.race.candidates import UNEDITED, EditedCandidate
from unvanish.race.checkpoint_proof import ProveCheckpoint
from unvanish.race.deciding_metric import Comparison
from unvanish.race.ranking import has_begun_to_learn, is_promising, leaders, rank
from unvanish.race.successive_halving import Rungs, rungs_for, survivors
from unvanish.race.verdict_wording import checkpoint_note
from unvanish.race.verdicts import is_undecided, judge
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.race_plan import (
    CHECKPOINT_ID,
    CONTROL_ID,
    LATE_END_ID,
    MORE_SEEDS_ID,
    SEEDS_ID,
    RacePart,
    end_id,
    rung_id,
)
from unvanish.record.races.verdict import RaceResult, TrialResult
from unvanish.trials.checkpoint import CheckpointProof
from unvanish.trials.engines.engine import Engine
from unvanish.trials.script.execution import Script
from unvanish.trials.trial import Trial

WAVE = 6  # candidates that start together
KEPT = 2  # candidates that run with every seed
MOST_PROVED = 3  # candidates that run with every seed at most, where the first prove nothing
MOST_RUNS = 8  # what finding a cure may cost, in trainings from start to end
MORE_SEEDS = 3  # are added once where the seeds so far agree and yet prove nothing: six tell sides apart whatever they look like


def ignore_part(part: RacePart) -> None:
    """Does nothing when a part begins."""


@dataclass(frozen=True, slots=True)
class RaceSettings:
    """What a race needs besides its candidates.

    Arguments:
        script: the unmodified script.
        engine: runs the trials.
        folder: holds a folder for each trial.
        steps: length of the training as it is.
        seeds: how many seeds are run for what survives, or with `all_seeds` for every candidate.
        keep: how many candidates run to the end of the training.
        max_steps: ends every trial after so many steps.
        metric: compares the candidates, by default one on held-out data, else the loss.
        on_part: called at the start of each part of the race.
        prove_checkpoint: tests whether the winner's cure survives a checkpoint; None tests none.
    """

    script: Script
    engine: Engine
    folder: Path
    steps: int
    seeds: int = 3
    keep: int = KEPT
    all_seeds: bool = False
    max_steps: int | None = None
    metric: str | None = None
    on_part: Callable[[RacePart], None] = ignore_part
    prove_checkpoint: ProveCheckpoint | None = None


def trial_of(edited: EditedCandidate, seed: int, settings: RaceSettings) -> Trial:
    """The trial of one candidate with one seed."""
    folder = settings.folder / f"{edited.name.replace(' ', '') or 'control'}-{seed}"
    return Trial(settings.script, edited.candidate, seed, folder, edited.edits, settings.max_steps, isolated=True)


def rung_text(rungs: Rungs, rung: int) -> str:
    """What the part up to a rung, from 1, is called."""
    return f"rung {rung} of {rungs.count}, to step {rungs.steps[rung - 1]}"


def end_text(rungs: Rungs) -> str:
    """What the part up to the end of the training is called."""
    return f"rung {rungs.count} of {rungs.count}, to the end" if rungs.steps else "to the end"


def race(candidates: Sequence[EditedCandidate], control: TrialResult | None, settings: RaceSettings) -> RaceResult:
    """What became of each candidate against the untouched script, whose trial with the first seed is `control`, if there was one.

    Every trial keeps its files in a folder of its own. Ctrl-C ends the race and keeps what it showed. Raises UsageError where
    there is nothing to race.
    """
    if not candidates or settings.seeds < 1:
        raise UsageError("a race needs at least one candidate and one seed")
    return _Race(settings, candidates, control).run()


@final
@dataclass(slots=True)
class _Race:
    """A race under way; it owns the results so far, by candidate and seed."""

    settings: RaceSettings
    candidates: Sequence[EditedCandidate]
    control: TrialResult | None
    results: dict[tuple[Candidate, int], TrialResult] = field(default_factory=dict[tuple[Candidate, int], TrialResult])
    checkpoints: dict[Candidate, CheckpointProof] = field(default_factory=dict[Candidate, CheckpointProof])
    is_stopped: bool = False

    def run(self) -> RaceResult:
        if self.control is not None:
            self.results[UNEDITED.candidate, 0] = self.control
        else:
            self._run_trials([(UNEDITED, 0)], None, CONTROL_ID, "the script as it is")
        waves = [self.candidates[begin : begin + WAVE] for begin in range(0, len(self.candidates), WAVE)]
        for number, wave in enumerate([self.candidates] if self.settings.all_seeds else waves):
            if self._search_is_over():
                break
            self._run_wave(number, wave)
        self.settings.engine.stop([trial_of(edited, 0, self.settings) for edited in self.candidates])
        self._prove_leaders()
        self._prove_checkpoint()
        result = self._judge()
        proof = self.checkpoints.get(result.winner) if result.winner is not None else None
        return result if proof is None or proof.holds else replace(result, notes=(checkpoint_note(proof),))

    def _comparison(self) -> Comparison:
        return Comparison(
            self.settings.metric,
            frozenset(edited.candidate for edited in self.candidates if edited.alters_loss),
            rungs_for(self.settings.steps, min(WAVE, len(self.candidates)), keep=self.settings.keep),
        )

    def _first_seed(self) -> list[TrialResult]:
        """The results with the first seed."""
        return [result for (_, seed), result in self.results.items() if seed == 0]

    def _search_is_over(self) -> bool:
        """Whether no more has to be run with the first seed: a cure is in sight, or enough was spent on finding one."""
        spent = sum(result.steps for result in self._first_seed() if not result.candidate.is_control)
        return self.is_stopped or spent > MOST_RUNS * self.settings.steps or self._cure_in_sight()

    def _cure_in_sight(self) -> bool:
        results, comparison = self._first_seed(), self._comparison()
        treated = [result.candidate for result in results if not result.candidate.is_control]
        return any(is_promising(results, candidate, comparison) for candidate in treated)

    def _run_wave(self, number: int, wave: Sequence[EditedCandidate]) -> None:
        """Some candidates with the first seed, from rung to rung; where that shows no cure, those that were set aside go on."""
        rungs = rungs_for(self.settings.steps, len(wave), keep=self.settings.keep)
        running, waiting = list(wave), list[EditedCandidate]()
        for rung, step in enumerate(rungs.steps, start=1):
            self._run_trials([(edited, 0) for edited in running], step, rung_id(number, rung), rung_text(rungs, rung))
            if self.is_stopped:
                return
            running, behind = self._split_at_rung(running, step)
            waiting = [*behind, *waiting]
        self._run_trials([(edited, 0) for edited in running], None, end_id(number), end_text(rungs))
        while waiting and not self._search_is_over():
            late = [(edited, 0) for edited in waiting[: self.settings.keep]]
            self._run_trials(late, None, LATE_END_ID, "to the end, of those that were behind")
            waiting = waiting[self.settings.keep :]

    def _split_at_rung(self, running: Sequence[EditedCandidate], step: int) -> tuple[list[EditedCandidate], list[EditedCandidate]]:
        """Those that go on from a rung, and those that wait there, both best first.

        What was prescribed first treats the root, if slowly at first: it goes on from the first rung in any case. While none has
        begun to learn, a comparison would say nothing, and all go on.
        """
        results = self._first_seed()
        order = rank(results, [edited.candidate for edited in running], self._comparison())
        by_candidate = {edited.candidate: edited for edited in running}
        best: list[EditedCandidate] = []
        other_rates: list[EditedCandidate] = []
        seen: set[tuple[str, ...]] = set()
        for edited in (by_candidate[candidate] for candidate in order):
            is_other_rate = edited.candidate.rate_factor is not None and edited.candidate.remedies in seen  # of several one goes on
            (other_rates if is_other_rate else best).append(edited)
            seen.add(edited.candidate.remedies)
        if not any(has_begun_to_learn(results, edited.candidate, step) for edited in best):
            return best, other_rates
        count = survivors(len(best), keep=self.settings.keep)
        prescribed_first = self.candidates[0] if step == min(self._comparison().rungs.steps) else None
        kept = [edited for edited in best[count:] if edited is prescribed_first]
        behind = [edited for edited in best[count:] if edited is not prescribed_first]
        return [*best[:count], *kept], [*behind, *other_rates]

    def _prove_leaders(self) -> None:
        """The leaders with the other seeds; where that proves none of them, the next that may be a cure."""
        tried: set[Candidate] = set()
        while self.settings.seeds > 1 and not self.is_stopped and len(tried) < MOST_PROVED:
            untried = [result for result in self._first_seed() if result.candidate not in tried]
            leading = self._chosen_for_proof(untried)
            chosen = [edited for edited in self.candidates if edited.candidate in leading]
            if not chosen:
                return
            tried.update(leading)
            self._run_seeds(chosen, range(1, self.settings.seeds), SEEDS_ID)
            undecided = [edited for edited in chosen if is_undecided(self._judge(), edited.candidate)]
            if undecided and self._judge().winner is None and not self.is_stopped:
                self._run_seeds(undecided, range(self.settings.seeds, self.settings.seeds + MORE_SEEDS), MORE_SEEDS_ID)
            rest = [result for result in self._first_seed() if result.candidate not in tried]
            if self._judge().winner is not None or not any(is_promising(rest, r.candidate, self._comparison()) for r in rest):
                return

    def _prove_checkpoint(self) -> None:
        """The winner's checkpoint; where that fails, the next winner's."""
        prove = self.settings.prove_checkpoint
        while prove is not None and not self.is_stopped and (winner := self._judge().winner) not in (None, *self.checkpoints):
            edited = next(edited for edited in self.candidates if edited.candidate == winner)
            self.settings.on_part(RacePart(CHECKPOINT_ID, "the winner's weights, saved and loaded anew", 2))
            self.checkpoints[edited.candidate] = prove(edited)

    def _chosen_for_proof(self, untried: Sequence[TrialResult]) -> list[Candidate]:
        if not self.settings.all_seeds:
            return leaders(untried, self._comparison(), keep=self.settings.keep)
        ended = [result for result in untried if not result.paused and result.failure is None]
        return [result.candidate for result in ended if not result.candidate.is_control]

    def _judge(self) -> RaceResult:
        trials = list(self.results.values())
        name, comparison = self.settings.script.name, self._comparison()
        return judge(name, trials, comparison=comparison, checkpoints=self.checkpoints, stopped=self.is_stopped)

    def _run_seeds(self, chosen: Sequence[EditedCandidate], seeds: Sequence[int], part: str) -> None:
        # Seeds outermost, so that trials to be compared run side by side.
        trials = [(edited, s) for s in seeds for edited in (UNEDITED, *chosen) if (edited.candidate, s) not in self.results]
        text = f"{len(chosen)} of the candidates with {len(seeds)} more seed{'s' if len(seeds) > 1 else ''}"
        self._run_trials(trials, None, part, text)

    def _run_trials(self, trials: Sequence[tuple[EditedCandidate, int]], goal: int | None, part: str, text: str) -> None:
        """One part of the race: every trial up to the step `goal`, or to its end."""
        self.settings.on_part(RacePart(part, text, len(trials)))
        goals = [(trial_of(edited, seed, self.settings), goal) for edited, seed in trials]
        try:
            results = self.settings.engine.advance(goals)
        except KeyboardInterrupt:
            results = []
        for result in results:
            self.results[result.candidate, result.seed] = result
        self.is_stopped = len(results) < len(goals)
