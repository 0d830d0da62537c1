"""A race as rows, in the one order and wording that the terminal, the page and the figures share. It judges nothing anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from unvanish.record.verdict import Effect, Outcome, RaceResult, Verdict
from unvanish.report.views.pareto_front import CONTROL, front
from unvanish.report.wording import numbers

MARKS: Mapping[Outcome, str] = {
    Outcome.CURED: "●",
    Outcome.BETTER: "◐",
    Outcome.SAME: "○",
    Outcome.WORSE: "▼",
    Outcome.FAILED: "✕",
}
ON_FRONT = "*"
LEGEND = f"{ON_FRONT} nothing else is as good in score, time and size, and better in one"
FAILED_TRIAL = "A trial failed: "  # how a reason begins where one failed


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate, or the control (then `verdict` is None). `values` maps a metric to its mean and spread over the seeds.

    `front` tells that nothing that was run to its end is better in all of score, time and size. `failure` is why it failed.
    """

    name: str
    values: tuple[tuple[str, float, float], ...]
    verdict: Verdict | None
    winner: bool
    seeds: int
    front: bool
    failure: str = ""

    def value(self, metric: str) -> tuple[float, float] | None:
        """Mean and spread of that metric, or None where this row has none."""
        return next(((mean, spread) for name, mean, spread in self.values if name == metric), None)

    def said(self, metric: str) -> str:
        """The metric in words: "0.972 ± 0.004", "0.41" for one seed, "diverged"; nothing where there is none."""
        value = self.value(metric)
        if value is None:
            return ""
        mean, spread = value
        if not math.isfinite(mean):
            return "diverged"
        if self.seeds < 2 or not math.isfinite(spread):
            return numbers.figure(mean)
        return numbers.measured(mean, spread)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped at a rung, where others did better."""
        verdict = self.verdict
        return verdict is not None and verdict.outcome is not Outcome.FAILED and verdict.rung < verdict.rungs

    @property
    def compared(self) -> bool:
        """Whether it ran to its end, beside the control."""
        return self.effect is not None and not self.stopped

    @property
    def effect(self) -> Effect | None:
        """The deciding comparison, or None for the control and for a candidate that failed."""
        return self.verdict.effects[0] if self.verdict is not None and self.verdict.effects else None

    @property
    def ending(self) -> str:
        """How it ended where it was not compared: "stopped at rung 2", "crashed: ValueError: bad shape"; else nothing."""
        if self.failure:
            return self.failure
        if self.verdict is None or not self.stopped:
            return ""
        return f"stopped at rung {self.verdict.rung}" if self.verdict.rung else "stopped before rung 1"


def rows(race: RaceResult) -> list[Row]:
    """Every candidate in the race's own order, best first, and the control at the end."""
    ahead = front(race)
    found = [
        Row(
            verdict.name,
            tuple((e.metric, e.treated, e.treated_spread) for e in verdict.effects),
            verdict,
            _is_winner(race, verdict),
            verdict.seeds,
            verdict.name in ahead,
            _failure(verdict),
        )
        for verdict in race.verdicts
    ]
    known = tuple((e.metric, e.control, e.control_spread) for e in control(race))
    seeds = sum(not trial.remedies for trial in race.trials) or max((v.seeds for v in race.verdicts), default=0)
    failure = next((trial.failure for trial in race.trials if not trial.remedies and trial.failure), "")
    return [*found, Row(CONTROL, known, None, False, seeds, CONTROL in ahead, failure)]


def control(race: RaceResult) -> tuple[Effect, ...]:
    """What is known of the untouched script: the race's own record of it, or else what the first verdict compared with."""
    return race.control or next((verdict.effects for verdict in race.verdicts if verdict.effects), ())


def metrics(race: RaceResult) -> list[str]:
    """The metrics that were compared, the deciding one first: that of the candidates that were run to their end."""
    whole = sorted(race.verdicts, key=lambda verdict: verdict.rung < verdict.rungs)
    names = [e.metric for verdict in whole for e in verdict.effects] + [e.metric for e in race.control]
    return list(dict.fromkeys(names))


def winner(race: RaceResult | None) -> Verdict | None:
    """The winner's verdict, or None where there was no race or nothing won."""
    return next((verdict for verdict in race.verdicts if _is_winner(race, verdict)), None) if race is not None else None


def proof(row: Row) -> tuple[str, str]:
    """The effect and its 95 % interval in words; an interval that is not finite is said, and not printed."""
    effect = row.effect
    if effect is None or row.ending:
        return "", ""
    low, high = effect.interval
    if math.isfinite(low) and math.isfinite(high):
        return numbers.signed(effect.effect), numbers.interval(low, high)
    gain = numbers.signed(effect.effect) if math.isfinite(effect.effect) else ""
    if row.seeds < 2:
        return gain, "one seed"
    if low > 0 or high < 0:
        return "", "no longer diverges" if low > 0 else "diverges"
    return gain, "some seeds diverge"


def _is_winner(race: RaceResult, verdict: Verdict) -> bool:
    return race.winner is not None and (verdict.remedies, verdict.variant) == (race.winner, race.winner_variant)


def _failure(verdict: Verdict) -> str:
    if verdict.outcome is not Outcome.FAILED:
        return ""
    return verdict.reason.removeprefix(FAILED_TRIAL).removesuffix(".")
