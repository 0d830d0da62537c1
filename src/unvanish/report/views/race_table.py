"""Builds the rows of a race, in the order and wording that terminal, page and figures share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from unvanish.record.races.verdict import Effect, Outcome, RaceResult, Verdict
from unvanish.report.views.pareto_front import CONTROL_NAME, find_front
from unvanish.report.wording import numbers

OUTCOME_MARKS: Mapping[Outcome, str] = {
    Outcome.CURED: "●",
    Outcome.BETTER: "◐",
    Outcome.SAME: "○",
    Outcome.WORSE: "▼",
    Outcome.FAILED: "✕",
}
FRONT_MARK = "*"
LEGEND = f"{FRONT_MARK} nothing else is as good in score, time and size, and better in one"


@dataclass(frozen=True, slots=True)
class RaceRow:
    """One candidate, or the control.

    Arguments:
        values: (metric, mean, standard deviation) over the seeds.
        verdict: None for the control.
        is_on_front: whether no candidate that ran to its end is better in all of score, time and size.
        failure: why it failed; "" where it did not.
    """

    name: str
    values: tuple[tuple[str, float, float], ...]
    verdict: Verdict | None
    is_winner: bool
    seeds: int
    is_on_front: bool
    failure: str = ""

    def get_mean_and_spread(self, metric: str) -> tuple[float, float] | None:
        """Mean and spread of that metric, or None where this row has none."""
        return next(((mean, spread) for name, mean, spread in self.values if name == metric), None)

    def format_metric(self, metric: str) -> str:
        """The metric as text: "0.972 ± 0.004", "0.41" for one seed, "diverged"; "" where there is none."""
        value = self.get_mean_and_spread(metric)
        if value is None:
            return ""
        mean, spread = value
        if not math.isfinite(mean):
            return "diverged"
        if self.seeds < 2 or not math.isfinite(spread):
            return numbers.format_number(mean)
        return numbers.format_mean_and_deviation(mean, spread)

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped at a rung, where others did better."""
        verdict = self.verdict
        return verdict is not None and verdict.outcome is not Outcome.FAILED and verdict.rung < verdict.rungs

    @property
    def is_compared(self) -> bool:
        """Whether it ran to its end and was compared with the control."""
        return self.effect is not None and not self.is_stopped

    @property
    def effect(self) -> Effect | None:
        """The deciding comparison, or None for the control and for a candidate that failed."""
        return self.verdict.effects[0] if self.verdict is not None and self.verdict.effects else None

    @property
    def ending(self) -> str:
        """How it ended where it was not compared: "stopped at rung 2", "crashed: ValueError: bad shape"; "" where it was."""
        if self.failure:
            return self.failure
        if self.verdict is None or not self.is_stopped:
            return ""
        return f"stopped at rung {self.verdict.rung}" if self.verdict.rung else "stopped before rung 1"


def build_rows(race: RaceResult) -> list[RaceRow]:
    """Every candidate in the race's own order, best first, and the control at the end."""
    front = find_front(race)
    candidates = [
        RaceRow(
            verdict.name,
            tuple((e.metric, e.treated, e.treated_spread) for e in verdict.effects),
            verdict,
            _is_winner(race, verdict),
            verdict.seeds,
            verdict.name in front,
            verdict.failure,
        )
        for verdict in race.verdicts
    ]
    control_values = tuple((e.metric, e.control, e.control_spread) for e in get_control_effects(race))
    seeds = sum(trial.candidate.is_control for trial in race.trials) or max((v.seeds for v in race.verdicts), default=0)
    failure = next((trial.failure for trial in race.trials if trial.candidate.is_control and trial.failure), "")
    return [*candidates, RaceRow(CONTROL_NAME, control_values, None, False, seeds, CONTROL_NAME in front, failure)]


def get_control_effects(race: RaceResult) -> tuple[Effect, ...]:
    """The values of the untouched script: the race's own record of it, or else the control side of the first verdict."""
    return race.control or next((verdict.effects for verdict in race.verdicts if verdict.effects), ())


def list_metrics(race: RaceResult) -> list[str]:
    """The metrics that were compared, the deciding one first: that of the candidates that were run to their end."""
    complete_first = sorted(race.verdicts, key=lambda verdict: verdict.rung < verdict.rungs)
    names = [e.metric for verdict in complete_first for e in verdict.effects] + [e.metric for e in race.control]
    return list(dict.fromkeys(names))


def find_winner(race: RaceResult | None) -> Verdict | None:
    """The winner's verdict, or None where there was no race or nothing won."""
    return next((verdict for verdict in race.verdicts if _is_winner(race, verdict)), None) if race is not None else None


def format_effect(row: RaceRow) -> tuple[str, str]:
    """The effect and its 95 % interval as text; an interval that is not finite is described in words."""
    effect = row.effect
    if effect is None or row.ending:
        return "", ""
    low, high = effect.interval
    if math.isfinite(low) and math.isfinite(high):
        return numbers.format_signed(effect.effect), numbers.format_interval(low, high)
    gain = numbers.format_signed(effect.effect) if math.isfinite(effect.effect) else ""
    if row.seeds < 2:
        return gain, "one seed"
    if low > 0 or high < 0:
        return "", "no longer diverges" if low > 0 else "diverges"
    return gain, "some seeds diverge"


def _is_winner(race: RaceResult, verdict: Verdict) -> bool:
    return verdict.candidate == race.winner
