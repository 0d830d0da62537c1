"""Which of the candidates of a race, and of the script as it is, nothing else beats at once in score, time per step and size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unvanish.record.verdict import Outcome, RaceResult, Verdict
from unvanish.report.wording.numbers import SAME_SPEED

CONTROL = "as it is (control)"


@dataclass(frozen=True, slots=True)
class Point:
    """What was run to its end: its gain by the deciding metric over the script as it is, its time per step and its parameters as
    multiples of that script's. `outcome` is None for the script itself."""

    name: str
    outcome: Outcome | None
    gain: float
    step_time: float
    parameters: float


def points(race: RaceResult) -> list[Point]:
    """The candidates that were run to their end and whose cost was measured, best first, and the script as it is at the end.

    None where the race compared by no one metric.
    """
    compared = [verdict for verdict in race.verdicts if _is_whole(verdict)]
    if not compared:
        return []
    metric = compared[0].effects[0].metric
    found = [
        Point(v.name, v.outcome, v.effects[0].effect, v.cost.step_time, v.cost.parameters)
        for v in compared
        if v.effects[0].metric == metric
    ]
    return [*found, Point(CONTROL, None, 0.0, 1.0, 1.0)]


def front(race: RaceResult) -> frozenset[str]:
    """The names of those that none of the others beats."""
    every = points(race)
    return frozenset(one.name for one in every if not any(_beats(other, one) for other in every))


def _is_whole(verdict: Verdict) -> bool:
    if verdict.outcome is Outcome.FAILED or not verdict.effects or verdict.rung < verdict.rungs:
        return False
    measured = (verdict.effects[0].effect, verdict.cost.step_time, verdict.cost.parameters)
    return not any(math.isnan(value) for value in measured)


def _beats(one: Point, other: Point) -> bool:
    """Whether `one` is at least as good in all three, and better in one; times that a machine cannot tell apart are equal."""
    slower = one.step_time > other.step_time * (1 + SAME_SPEED)
    faster = one.step_time * (1 + SAME_SPEED) < other.step_time
    if one.gain < other.gain or slower or one.parameters > other.parameters:
        return False
    return one.gain > other.gain or faster or one.parameters < other.parameters
