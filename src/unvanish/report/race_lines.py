"""The race as lines of the page's table: words for every cell, and where its dot and bar stand. It compares nothing anew."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unvanish.record.verdict import Outcome, RaceResult
from unvanish.report import numbers, race_table
from unvanish.report.palette import NO_BETTER
from unvanish.report.race_figure import COLOURS
from unvanish.report.race_table import MARKS, Row


@dataclass(frozen=True, slots=True)
class Bar:
    """Where the mean stands, and how far the seeds spread about it, in per cent of the bar's length."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; what was not measured is empty."""

    name: str
    winner: bool
    outcome: str
    colour: str
    bar: Bar | None
    value: str
    effect: str
    interval: str
    step_time: str
    parameters: str
    memory: str
    seeds: str


@dataclass(frozen=True, slots=True)
class Lines:
    """The table: the deciding metric, the ends of its axis in words, the lines, and the outcome in a sentence."""

    metric: str
    axis: str
    lines: tuple[Line, ...]
    sentence: str


def lines(race: RaceResult) -> Lines:
    """The table of a race. The axis runs from 0 to 1 for a share, else from 0 (or the least value) to the largest."""
    rows = race_table.rows(race)
    metric = next(iter(race_table.metrics(race)), "")
    values = [value for row in rows if (value := row.value(metric)) is not None and math.isfinite(value[0])]
    low, high = _axis([mean for mean, _ in values])
    axis = f"{low:.3g} to {high:.3g}"
    return Lines(metric or "result", axis, tuple(_line(row, metric, low, high) for row in rows), race.sentence)


def _axis(means: list[float]) -> tuple[float, float]:
    if not means:
        return 0.0, 1.0
    low = min(0.0, *means)
    return low, 1.0 if low == 0 and 0.5 < max(means) <= 1 else max(*means, low + 1e-9)


def _line(row: Row, metric: str, low: float, high: float) -> Line:
    value = row.value(metric)
    verdict, effect = row.verdict, row.effect
    words = f"{numbers.figure(value[0])} ± {numbers.spread(*value)}" if value else ""
    cost = verdict.cost if verdict is not None and verdict.outcome is not Outcome.FAILED else None
    return Line(
        name=row.name,
        winner=row.winner,
        outcome=f"{MARKS[verdict.outcome]} {verdict.outcome.value}" if verdict is not None else "",
        colour=COLOURS[verdict.outcome] if verdict is not None else NO_BETTER,
        bar=_bar(*value, low, high) if value and all(map(math.isfinite, value)) else None,
        value=words,
        effect=numbers.signed(effect.effect) if effect is not None else "",
        interval=numbers.interval(*effect.interval) if effect is not None else "",
        step_time=numbers.ratio(cost.step_time) if cost else "",
        parameters=numbers.signed_percent(cost.parameters) if cost else "",
        memory=numbers.ratio(cost.memory) if cost else "",
        seeds=str(verdict.seeds) if verdict is not None else "",
    )


def _bar(mean: float, spread: float, low: float, high: float) -> Bar:
    def place(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    return Bar(place(mean - spread), place(mean), place(mean + spread))
