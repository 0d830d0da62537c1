"""How far the trials of a race are, from their events: rows for a board, and an estimate of the time that is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from unvanish.report.wording import numbers

if TYPE_CHECKING:
    from unvanish.record.races.race_plan import PlannedPart, RacePart
    from unvanish.record.races.verdict import TrialResult
    from unvanish.report.terminal.live_race import LiveRaceRow
    from unvanish.trials.trial import Trial, TrialEvent

CONTROL, REHEARSAL = "as it is", "rehearsal"
SETTLED_S = 3.0  # before that, an estimate of the time left is a guess


@dataclass(slots=True)
class _TrialProgress:
    """One trial in a part of the race: the step of its first event there, of its last one, and the one that it runs to (None: not
    known)."""

    began: int
    step: int
    goal: int | None
    done: bool = False

    def work(self, start: float) -> float:
        """Steps that it made, its start counting as so many."""
        return self.step - self.began + (start if self.step and not self.began else 0.0)

    def total_work(self, start: float) -> float:
        """All its work in this part; NaN where that is not known."""
        if self.done:
            return self.work(start)
        return math.nan if self.goal is None else self.goal - self.began + (0.0 if self.began else start)


@dataclass(slots=True)
class _PartProgress:
    """A part of the race, with so many trials; those that had an event, by candidate and seed."""

    text: str
    trial_count: int
    began_s: float
    trials: dict[tuple[str, int], _TrialProgress] = field(default_factory=dict[tuple[str, int], _TrialProgress])

    def work(self, start: float) -> float:
        """What was done in it, in steps."""
        return sum(trial.work(start) for trial in self.trials.values())

    def work_left(self, start: float) -> float:
        """What is to be done in it; trials without an event yet are taken for the mean of the others. NaN: not known."""
        totals = [trial.total_work(start) for trial in self.trials.values()]
        return sum(totals) / len(totals) * max(self.trial_count, len(totals)) - self.work(start) if totals else math.nan


@dataclass(slots=True)
class _CandidateProgress:
    """The latest event of a candidate, whatever the seed; `score` is the loss of its last result with the first seed."""

    event: TrialEvent
    score: float = math.inf
    ended_seeds: set[int] = field(default_factory=set[int])


@final
class RaceProgress:
    """Collects the events of a race. The time left is estimated from the steps done and to do; the start of a process counts as so
    many steps as could be made meanwhile, which the script as it is has shown.

    Arguments:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._began_s = clock, clock()
        self._part = _PartProgress("", 0, self._began_s)
        self._to_come: list[PlannedPart] = []
        self._earlier_work, self._earlier_s = 0.0, 0.0  # what was done in earlier parts, and the seconds that it took
        self._candidates: dict[str, _CandidateProgress] = {}
        self._training_steps: int | None = None
        self._start_steps = 0.0

    def on_part(self, part: RacePart) -> None:
        """A part of the race begins; of the planned ones, this and those before it are no longer to come."""
        now, ended = self._clock(), self._part
        if ended.trial_count > 1:  # alone on the machine, a trial says nothing about how fast several go
            self._earlier_work += ended.work(self._start_steps)
            self._earlier_s += now - ended.began_s
        self._candidates.pop(REHEARSAL, None)
        self._part = _PartProgress(part.text, part.trials, now)
        planned = next((place for place, each in enumerate(self._to_come) if each.id == part.id), None)
        if planned is not None:
            del self._to_come[: planned + 1]

    def on_plan(self, parts: Sequence[PlannedPart]) -> None:
        """The parts that are to come after the one that runs now."""
        self._to_come = [part for part in parts if not part.if_needed]

    @property
    def part(self) -> str:
        """What the part that runs now is about."""
        return self._part.text

    def on_event(self, event: TrialEvent) -> None:
        """Something happened in one trial."""
        name, seed, result = candidate_of(event.trial), event.trial.seed, event.result
        candidate = self._candidates.setdefault(name, _CandidateProgress(event))
        candidate.event = event
        if result is not None and not result.paused and result.failure is None:
            candidate.ended_seeds.add(seed)
            if name == CONTROL and seed == 0:
                self._learn_from_control(result)
        if result is not None and seed == 0:
            candidate.score = result.final_loss if math.isfinite(result.final_loss) else math.inf
        goal = self._goal(event)
        trial = self._part.trials.setdefault((name, seed), _TrialProgress(event.step, event.step, goal))
        trial.step, trial.goal, trial.done = event.step, goal, trial.done or result is not None

    def _learn_from_control(self, result: TrialResult) -> None:
        """How long the training is, and how many of its steps the start of its process is worth."""
        self._training_steps = result.steps
        step_s, took_s = result.step_ms / 1e3, self._clock() - self._part.began_s
        if step_s > 0 and self._part.trial_count == 1:
            self._start_steps = max(0.0, took_s / step_s - result.steps)

    def _goal(self, event: TrialEvent) -> int | None:
        return event.goal or event.trial.max_steps or self._training_steps

    def rows(self) -> list[LiveRaceRow]:
        """The candidates, best first as far as that is known; behind them those that run no more, and the script as it is."""
        rows = [(self._row(name, candidate), candidate.score) for name, candidate in list(self._candidates.items())]
        rows.sort(key=lambda pair: (pair[0].name == CONTROL, pair[0].is_out, pair[1]))
        return [row for row, _ in rows]

    def summary(self) -> str:
        """What is done, the time that it took, and the time that is left."""
        now, part = self._clock(), self._part
        done = sum(trial.done for trial in part.trials.values())
        facts = [f"{done} of {numbers.pluralise(part.trial_count, 'trial')} of this part"] if part.trial_count else []
        facts.append(f"{_whole_seconds(now - self._began_s)} so far")
        left_s = self._left_s(now)
        if left_s > 0:
            rest = "left" if self._to_come else "left of it"
            facts.append(f"about {_whole_seconds(max(1.0, left_s))} {rest}")
        return " · ".join(facts)

    def _left_s(self, now: float) -> float:
        """Seconds to the end of the race, or of this part where what comes after it is not known; NaN where that is not known."""
        work = self._earlier_work + self._part.work(self._start_steps)
        spent_s = self._earlier_s + now - self._part.began_s
        if spent_s < SETTLED_S or work <= 0:
            return math.nan
        to_come = sum(part.steps + (0.0 if part.begins else part.trials * self._start_steps) for part in self._to_come)
        return (self._part.work_left(self._start_steps) + to_come) / work * spent_s

    def _row(self, name: str, candidate: _CandidateProgress) -> LiveRaceRow:
        from unvanish.report.terminal.live_race import LiveRaceRow

        event = candidate.event
        is_later_seed = event.trial.seed and event.state == "running"
        return LiveRaceRow(
            name=name,
            step=event.step,
            stop_step=self._goal(event),
            training_steps=None if name == REHEARSAL else event.trial.max_steps or self._training_steps,
            loss=event.loss,
            seeds=len(candidate.ended_seeds),
            state=describe_state(event) + (f", seed {event.trial.seed}" if is_later_seed else ""),
            is_running=event.state == "running",
            is_out=event.state == "stopped" or (event.result is not None and event.result.failure is not None),
        )


def candidate_of(trial: Trial) -> str:
    """The trial's candidate by name; a trial that only plans candidates is called a rehearsal."""
    return REHEARSAL if trial.first_step_function else trial.name


def describe_state(event: TrialEvent) -> str:
    """Where a trial stands, in few words."""
    if event.result is not None and event.result.failure is not None:
        return f"failed: {event.result.failure}"
    if event.state == "paused":
        return f"waiting at step {event.step:,}"
    return event.state.value


def _whole_seconds(seconds: float) -> str:
    """A duration in whole seconds, since it changes all the time."""
    return numbers.format_duration(seconds) if seconds >= 10 else f"{seconds:.0f} s"
