"""How the trials of a race stand, from what is heard of them: rows for a board, and the time that is left. It draws nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from unvanish.report.wording import numbers

if TYPE_CHECKING:
    from unvanish.record.race_plan import PlannedPart
    from unvanish.record.verdict import TrialResult
    from unvanish.report.terminal.live_race import Contender
    from unvanish.trials.trial import Trial, TrialEvent

CONTROL, REHEARSAL = "as it is", "rehearsal"
SETTLED_S = 3.0  # before that, an estimate of the time left is a guess


@dataclass(slots=True)
class _Runner:
    """One trial in a part of the race: the step at which it was first heard of, the last one, and the one that it runs to (None:
    nobody knows)."""

    began: int
    step: int
    goal: int | None
    done: bool = False

    def work(self, start: float) -> float:
        """Steps that it made, its start counting as so many."""
        return self.step - self.began + (start if self.step and not self.began else 0.0)

    def span(self, start: float) -> float:
        """All its work in this part; NaN where that is not known."""
        if self.done:
            return self.work(start)
        return math.nan if self.goal is None else self.goal - self.began + (0.0 if self.began else start)


@dataclass(slots=True)
class _Part:
    """A part of the race, with so many trials."""

    text: str
    goals: int
    began_s: float
    runners: dict[tuple[str, int], _Runner] = field(default_factory=dict[tuple[str, int], _Runner])

    def work(self, start: float) -> float:
        """What was done in it, in steps."""
        return sum(runner.work(start) for runner in self.runners.values())

    def left(self, start: float) -> float:
        """What is to be done in it; trials not heard of yet are taken for the mean of the others. NaN: not known."""
        spans = [runner.span(start) for runner in self.runners.values()]
        return sum(spans) / len(spans) * max(self.goals, len(spans)) - self.work(start) if spans else math.nan


@dataclass(slots=True)
class _Candidate:
    """The latest of a candidate, whatever the seed; `score` is the loss of its last result with the first seed."""

    news: TrialEvent
    score: float = math.inf
    ended: set[int] = field(default_factory=set[int])


@final
class RaceProgress:
    """Owner of what was heard. The time left is estimated from the steps done and to do; the start of a process counts as so many
    steps as could be made meanwhile, which the script as it is has shown."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._began_s = clock, clock()
        self._part = _Part("", 0, self._began_s)
        self._ahead: list[PlannedPart] = []
        self._over = (0.0, 0.0)  # what was done in earlier parts, and the seconds that it took
        self._candidates: dict[str, _Candidate] = {}
        self._whole: int | None = None
        self._start = 0.0

    def stage(self, text: str, goals: int) -> None:
        """A part of the race begins."""
        now, over = self._clock(), self._part
        if over.goals > 1:  # alone on the machine, a trial says nothing about how fast several go
            self._over = (self._over[0] + over.work(self._start), self._over[1] + now - over.began_s)
        self._candidates.pop(REHEARSAL, None)
        self._part = _Part(text, goals, now)
        planned = next((place for place, part in enumerate(self._ahead) if part.text == text), None)
        if planned is not None:
            del self._ahead[: planned + 1]

    def expect(self, parts: Sequence[PlannedPart]) -> None:
        """The parts that are to come after the one that runs now."""
        self._ahead = [part for part in parts if not part.if_needed]

    @property
    def part(self) -> str:
        """What the part is about."""
        return self._part.text

    def take(self, news: TrialEvent) -> None:
        """Takes in what is known of one trial."""
        name, seed, result = called(news.trial), news.trial.seed, news.result
        known = self._candidates.setdefault(name, _Candidate(news))
        known.news = news
        if result is not None and not result.paused and result.failure is None:
            known.ended.add(seed)
            if name == CONTROL and seed == 0:
                self._learn(result)
        if result is not None and seed == 0:
            known.score = result.final_loss if math.isfinite(result.final_loss) else math.inf
        goal = self._goal(news)
        runner = self._part.runners.setdefault((name, seed), _Runner(news.step, news.step, goal))
        runner.step, runner.goal, runner.done = news.step, goal, runner.done or result is not None

    def _learn(self, result: TrialResult) -> None:
        """How long the training is, and how many of its steps the start of its process is worth."""
        self._whole = result.steps
        step_s, took_s = result.step_ms / 1e3, self._clock() - self._part.began_s
        if step_s > 0 and self._part.goals == 1:
            self._start = max(0.0, took_s / step_s - result.steps)

    def _goal(self, news: TrialEvent) -> int | None:
        return news.goal or news.trial.max_steps or self._whole

    def rows(self) -> list[Contender]:
        """The candidates, best first as far as that is known; behind them those that run no more, and the script as it is."""
        made = [(self._contender(name, each), each.score) for name, each in list(self._candidates.items())]
        made.sort(key=lambda each: (each[0].name == CONTROL, each[0].out, each[1]))
        return [contender for contender, _ in made]

    def foot(self) -> str:
        """What is done, the time that it took, and the time that is left."""
        now, part = self._clock(), self._part
        done = sum(runner.done for runner in part.runners.values())
        said = [f"{done} of {numbers.plural(part.goals, 'trial')} of this part"] if part.goals else []
        said.append(f"{_whole(now - self._began_s)} so far")
        left_s = self._left_s(now)
        if left_s > 0:
            rest = "left" if self._ahead else "left of it"
            said.append(f"about {_whole(max(1.0, left_s))} {rest}")
        return " · ".join(said)

    def _left_s(self, now: float) -> float:
        """Seconds to the end of the race, or of this part where nobody knows what comes after it; NaN where that is not known."""
        work, spent = self._over[0] + self._part.work(self._start), self._over[1] + now - self._part.began_s
        if spent < SETTLED_S or work <= 0:
            return math.nan
        ahead = sum(part.steps + (0.0 if part.begins else part.trials * self._start) for part in self._ahead)
        return (self._part.left(self._start) + ahead) / work * spent

    def _contender(self, name: str, each: _Candidate) -> Contender:
        from unvanish.report.terminal.live_race import Contender

        news = each.news
        whole = None if name == REHEARSAL else news.trial.max_steps or self._whole
        return Contender(
            name=name,
            step=news.step,
            goal=self._goal(news),
            whole=whole,
            loss=news.loss,
            seeds=len(each.ended),
            state=state_of(news) + (f", seed {news.trial.seed}" if news.trial.seed and news.state == "running" else ""),
            live=news.state == "running",
            out=news.state == "stopped" or (news.result is not None and news.result.failure is not None),
        )


def called(trial: Trial) -> str:
    """The trial's candidate; a rehearsal, which is none, by that name."""
    return REHEARSAL if trial.look else trial.name


def state_of(news: TrialEvent) -> str:
    """Where a trial stands, in few words."""
    if news.result is not None and news.result.failure is not None:
        return f"failed: {news.result.failure}"
    if news.state == "paused":
        return f"waiting at step {news.step:,}"
    return news.state.value


def _whole(seconds: float) -> str:
    """A length of time that ticks: in whole seconds."""
    return numbers.duration(seconds) if seconds >= 10 else f"{seconds:.0f} s"
