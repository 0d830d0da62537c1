"""Runs a race on an unmodified script: the control and every candidate, on the same seeds and for the same number of steps.

Candidates start in waves, the most promising first, and with the first seed: at each rung the weaker ones wait, the others go on
where they stand. Those that wait go on, and a further wave starts, only where no cure is in sight. Those that lead run with the
other seeds, against the control. It judges nothing itself and edits no file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from unvanish.errors import UsageError
from unvanish.race.candidates import CONTROL, Candidate
from unvanish.race.deciding_metric import Comparison
from unvanish.race.ranking import leaders, learns, promising, ranking
from unvanish.race.successive_halving import rungs_for, survivors
from unvanish.race.verdicts import judge, undecided
from unvanish.record.verdict import RaceResult, TrialResult
from unvanish.trials.engines.engine import Engine
from unvanish.trials.script.execution import Script
from unvanish.trials.trial import Trial

WAVE = 6  # candidates that start together
KEPT = 2  # candidates that run with every seed
MOST_PROVED = 3  # candidates that run with every seed at most, where the first prove nothing
MOST_RUNS = 8  # what finding a cure may cost, in trainings from start to end
MORE_SEEDS = 3  # are added once where the seeds so far agree and yet prove nothing: six tell sides apart whatever they look like

Stage = Callable[[str, int], None]
"""Told at the start of each part of a race, in words and with the number of trials in it."""


def ignore_stage(text: str, trials: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class RaceSettings:
    """What a race needs besides its candidates. `folder` holds the trials' own; `steps` is the length of the training as it is;
    `seeds` are run for what survives, or with `all_seeds` for every candidate."""

    script: Script
    engine: Engine
    folder: Path
    steps: int
    seeds: int = 3
    keep: int = KEPT
    all_seeds: bool = False
    max_steps: int | None = None
    metric: str | None = None
    stage: Stage = ignore_stage


def trial_of(each: Candidate, seed: int, course: RaceSettings) -> Trial:
    """The trial of one candidate with one seed."""
    folder = course.folder / f"{each.name.replace(' ', '') or 'control'}-{seed}"
    return Trial(course.script, each.remedies, seed, folder, each.edits, course.max_steps, each.variant, apart=True)


def race(treatments: Sequence[Candidate], control: TrialResult | None, course: RaceSettings) -> RaceResult:
    """What became of each candidate against the untouched script, whose trial with the first seed is `control`, if there was one.

    Every trial keeps its files in a folder of its own. Ctrl-C ends the race and keeps what it showed. Raises UsageError where
    there is nothing to race.
    """
    if not treatments or course.seeds < 1:
        raise UsageError("a race needs at least one candidate and one seed")
    return _Race(course, treatments, control).run()


@final
@dataclass(slots=True)
class _Race:
    """Owner of the results so far."""

    course: RaceSettings
    treatments: Sequence[Candidate]
    control: TrialResult | None
    results: dict[tuple[str, int], TrialResult] = field(default_factory=dict[tuple[str, int], TrialResult])
    stopped_early: bool = False

    def run(self) -> RaceResult:
        if self.control is not None:
            self.results[CONTROL.name, 0] = self.control
        else:
            self._round([(CONTROL, 0)], None, "the script as it is")
        waves = [self.treatments[begin : begin + WAVE] for begin in range(0, len(self.treatments), WAVE)]
        for wave in [self.treatments] if self.course.all_seeds else waves:
            if self._over():
                break
            self._wave(wave)
        self.course.engine.stop([trial_of(each, 0, self.course) for each in self.treatments])
        self._prove()
        return self._judged()

    def _comparison(self) -> Comparison:
        return Comparison(
            self.course.metric,
            frozenset(each.name for each in self.treatments if each.alters_loss),
            rungs_for(self.course.steps, min(WAVE, len(self.treatments)), keep=self.course.keep).rungs,
        )

    def _first(self) -> list[TrialResult]:
        """The results with the first seed."""
        return [result for (_, seed), result in self.results.items() if seed == 0]

    def _over(self) -> bool:
        """Whether no more has to be run with the first seed: a cure is in sight, or enough was spent on finding one."""
        spent = sum(result.steps for result in self._first() if result.remedies)
        return self.stopped_early or spent > MOST_RUNS * self.course.steps or self._cure_in_sight()

    def _cure_in_sight(self) -> bool:
        first, comparison = self._first(), self._comparison()
        return any(promising(first, result.name, comparison) for result in first if result.remedies)

    def _wave(self, wave: Sequence[Candidate]) -> None:
        """Some candidates with the first seed, from rung to rung; where that shows no cure, those that were set aside go on."""
        steps = rungs_for(self.course.steps, len(wave), keep=self.course.keep)
        alive, aside = list(wave), list[Candidate]()
        for number, rung in enumerate(steps.rungs, start=1):
            self._round([(each, 0) for each in alive], rung, f"rung {number} of {steps.height}, to step {rung}")
            if self.stopped_early:
                return
            alive, behind = self._parted(alive, rung)
            aside = [*behind, *aside]
        self._to_the_end(alive, f"rung {steps.height} of {steps.height}, to the end" if steps.rungs else "to the end")
        while aside and not self._over():
            self._to_the_end(aside[: self.course.keep], "to the end, of those that were behind")
            aside = aside[self.course.keep :]

    def _to_the_end(self, chosen: Sequence[Candidate], text: str) -> None:
        self._round([(each, 0) for each in chosen], None, text)

    def _parted(self, alive: Sequence[Candidate], rung: int) -> tuple[list[Candidate], list[Candidate]]:
        """Those that go on from a rung, and those that wait there, both best first.

        What was prescribed first treats the root, if slowly at first: it goes on from the first rung in any case. While none has
        begun to learn, a comparison would tell nothing, and all go on.
        """
        order = ranking(self._first(), [each.name for each in alive], self._comparison())
        by_name = {each.name: each for each in alive}
        first: list[Candidate] = []
        others: list[Candidate] = []
        families: set[tuple[str, ...]] = set()
        for each in (by_name[name] for name in order):
            twin = bool(each.variant) and each.remedies in families  # of several rates one goes on
            (others if twin else first).append(each)
            families.add(each.remedies)
        if not any(learns(self._first(), each.name, rung) for each in first):
            return first, others
        count = survivors(len(first), keep=self.course.keep)
        slow = self.treatments[0] if rung == min(self._comparison().rungs) else None
        heard = [each for each in first[count:] if each is slow]
        return [*first[:count], *heard], [*(each for each in first[count:] if each is not slow), *others]

    def _prove(self) -> None:
        """The leaders with the other seeds; where that proves none of them, the next that may be a cure."""
        tried: set[str] = set()
        while self.course.seeds > 1 and not self.stopped_early and len(tried) < MOST_PROVED:
            left = [result for result in self._first() if result.name not in tried]
            names = leaders(left, self._comparison(), keep=self.course.keep)
            if self.course.all_seeds:
                names = [result.name for result in left if result.remedies and not result.paused and result.failure is None]
            chosen = [each for each in self.treatments if each.name in names]
            if not chosen:
                return
            tried.update(names)
            self._seeds(chosen, range(1, self.course.seeds))
            open_still = [each for each in chosen if undecided(self._judged(), each.name)]
            if open_still and self._judged().winner is None and not self.stopped_early:
                self._seeds(open_still, range(self.course.seeds, self.course.seeds + MORE_SEEDS))
            rest = [result for result in self._first() if result.name not in tried]
            if self._judged().winner is not None or not any(promising(rest, r.name, self._comparison()) for r in rest):
                return

    def _judged(self) -> RaceResult:
        trials = list(self.results.values())
        return judge(self.course.script.name, trials, comparison=self._comparison(), stopped=self.stopped_early)

    def _seeds(self, chosen: Sequence[Candidate], seeds: Sequence[int]) -> None:
        # Seeds outermost, so that trials to be compared run side by side.
        trials = [(each, s) for s in seeds for each in (CONTROL, *chosen) if (each.name, s) not in self.results]
        self._round(trials, None, f"{len(chosen)} of the candidates with {len(seeds)} more seed{'s' if len(seeds) > 1 else ''}")

    def _round(self, trials: Sequence[tuple[Candidate, int]], goal: int | None, text: str) -> None:
        self.course.stage(text, len(trials))
        goals = [(trial_of(each, seed, self.course), goal) for each, seed in trials]
        try:
            found = self.course.engine.advance(goals)
        except KeyboardInterrupt:
            found = []
        for result in found:
            self.results[result.name, result.seed] = result
        self.stopped_early = len(found) < len(goals)
