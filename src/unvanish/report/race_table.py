"""A race as rows, in the one order and wording that the terminal, the page and the figure share. It judges nothing anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unvanish.record.verdict import Effect, Outcome, RaceResult, Verdict

CONTROL = "as it is (control)"
MARKS: Mapping[Outcome, str] = {
    Outcome.CURED: "●",
    Outcome.BETTER: "◐",
    Outcome.SAME: "○",
    Outcome.WORSE: "▼",
    Outcome.FAILED: "✕",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate, or the control (then `verdict` is None). `values` maps a metric to its mean and spread over the seeds."""

    name: str
    values: tuple[tuple[str, float, float], ...]
    verdict: Verdict | None
    winner: bool

    def value(self, metric: str) -> tuple[float, float] | None:
        """Mean and spread of that metric, or None where this row has none."""
        return next(((mean, spread) for name, mean, spread in self.values if name == metric), None)

    @property
    def effect(self) -> Effect | None:
        """The deciding comparison, or None for the control and for a candidate that never finished."""
        return self.verdict.effects[0] if self.verdict is not None and self.verdict.effects else None


def rows(race: RaceResult) -> list[Row]:
    """Every candidate in the race's own order, best first, and the control at the end."""
    found = [
        Row(
            verdict.name,
            tuple((e.metric, e.treated, e.treated_spread) for e in verdict.effects),
            verdict,
            race.winner is not None and verdict.remedies == race.winner,
        )
        for verdict in race.verdicts
    ]
    return [*found, Row(CONTROL, tuple((e.metric, e.control, e.control_spread) for e in control(race)), None, False)]


def control(race: RaceResult) -> tuple[Effect, ...]:
    """What is known of the untouched script: the race's own record of it, or else what the first verdict compared with."""
    return race.control or next((verdict.effects for verdict in race.verdicts if verdict.effects), ())


def metrics(race: RaceResult) -> list[str]:
    """The metrics that were compared, the deciding one first."""
    names = [e.metric for verdict in race.verdicts for e in verdict.effects] + [e.metric for e in race.control]
    return list(dict.fromkeys(names))


def winner(race: RaceResult | None) -> Verdict | None:
    """The winner's verdict, or None where there was no race or nothing won."""
    if race is None or race.winner is None:
        return None
    return next((verdict for verdict in race.verdicts if verdict.remedies == race.winner), None)
