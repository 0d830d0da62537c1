"""Finds the Pareto front of a race in score, time per step and number of parameters, the untouched script among the candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unvanish.record.races.verdict import EQUAL_TIME_RATIO, Outcome, RaceResult, Verdict

CONTROL_NAME = "as it is (control)"


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A candidate that was run to its end.

    Arguments:
        outcome: None for the script itself.
        gain: improvement in the deciding metric over the script as it is.
        step_time: time per step as a multiple of that script's.
        parameters: number of parameters as a multiple of that script's.
    """

    name: str
    outcome: Outcome | None
    gain: float
    step_time: float
    parameters: float


def build_points(race: RaceResult) -> list[ParetoPoint]:
    """The candidates that were run to their end and whose cost was measured, best first, and the script as it is at the end.

    Empty where no candidate is left.
    """
    compared = [verdict for verdict in race.verdicts if _is_complete(verdict)]
    if not compared:
        return []
    metric = compared[0].effects[0].metric
    candidates = [
        ParetoPoint(v.name, v.outcome, v.effects[0].effect, v.cost.step_time, v.cost.parameters)
        for v in compared
        if v.effects[0].metric == metric
    ]
    return [*candidates, ParetoPoint(CONTROL_NAME, None, 0.0, 1.0, 1.0)]


def find_front(race: RaceResult) -> frozenset[str]:
    """The names of the points that no other point dominates."""
    points = build_points(race)
    return frozenset(point.name for point in points if not any(_dominates(other, point) for other in points))


def _is_complete(verdict: Verdict) -> bool:
    if verdict.outcome is Outcome.FAILED or not verdict.effects or verdict.rung < verdict.rungs:
        return False
    measured = (verdict.effects[0].effect, verdict.cost.step_time, verdict.cost.parameters)
    return not any(math.isnan(value) for value in measured)


def _dominates(one: ParetoPoint, other: ParetoPoint) -> bool:
    """Whether `one` is at least as good in all three, and better in one; times within EQUAL_TIME_RATIO are equal."""
    is_slower = one.step_time > other.step_time * EQUAL_TIME_RATIO
    is_faster = one.step_time * EQUAL_TIME_RATIO < other.step_time
    if one.gain < other.gain or is_slower or one.parameters > other.parameters:
        return False
    return one.gain > other.gain or is_faster or one.parameters < other.parameters
