"""The race as lines of the page's table: words for every cell, and where its dot and bar stand. It compares nothing anew."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unvanish.record.verdict import RaceResult
from unvanish.report.figures.palette import NO_BETTER
from unvanish.report.figures.race.effects import COLOURS
from unvanish.report.views import diff_lines, race_table
from unvanish.report.views.diff_lines import DiffLine
from unvanish.report.views.race_table import MARKS, Row
from unvanish.report.wording import numbers

LOSS = "loss"


@dataclass(frozen=True, slots=True)
class Bar:
    """Where the mean stands, and how far the seeds spread about it, in per cent of the bar's length."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; what was not measured is empty. `ending` says how it ended where it was not compared, `rung` how many
    of the rungs it reached."""

    name: str
    winner: bool
    front: bool
    outcome: str
    colour: str
    ending: str
    rung: tuple[int, int] | None
    loss: str
    bar: Bar | None
    value: str
    effect: str
    interval: str
    step_time: str
    parameters: str
    flops: str
    memory: str
    seeds: str


@dataclass(frozen=True, slots=True)
class Lines:
    """The table: its title, the deciding metric, the ends of its axis in words, the lines, the outcome in a sentence, what else a
    person should know, and the winner's patch. `loss`, `rungs`, `flops` and `memory` tell which columns have anything in them;
    `legend` explains the mark of the front."""

    title: str
    metric: str
    axis: str
    lines: tuple[Line, ...]
    loss: bool
    rungs: bool
    flops: bool
    memory: bool
    legend: str
    sentence: str
    notes: tuple[str, ...]
    patch: tuple[DiffLine, ...]


def lines(race: RaceResult) -> Lines:
    """The table of a race. The axis runs from 0 to 1 for a share, else from 0 (or the least value) to the largest."""
    rows = race_table.rows(race)
    metric = next(iter(race_table.metrics(race)), "")
    values = [value for row in rows if (value := row.value(metric)) is not None and math.isfinite(value[0])]
    low, high = _axis([mean for mean, _ in values])
    found = tuple(_line(row, metric, low, high) for row in rows)
    return Lines(
        title=_title(race),
        metric=metric or "result",
        axis=f"{low:.3g} to {high:.3g}",
        lines=found,
        loss=metric != LOSS and any(line.loss for line in found),
        rungs=any(line.rung is not None for line in found),
        flops=any(line.flops for line in found),
        memory=any(line.memory for line in found),
        legend=race_table.LEGEND if any(line.front for line in found) else "",
        sentence=race.sentence,
        notes=race.notes,
        patch=tuple(diff_lines.lines(race.patch)) if race.patch else (),
    )


def _title(race: RaceResult) -> str:
    if not race.verdicts:
        return "The race"
    noun = "change was" if len(race.verdicts) == 1 else "changes were"
    return f"{numbers.word(len(race.verdicts)).capitalize()} {noun} raced against the script as it is"


def _axis(means: list[float]) -> tuple[float, float]:
    if not means:
        return 0.0, 1.0
    low = min(0.0, *means)
    return low, 1.0 if low == 0 and 0.5 < max(means) <= 1 else max(*means, low + 1e-9)


def _line(row: Row, metric: str, low: float, high: float) -> Line:
    value, verdict = row.value(metric), row.verdict
    cost = verdict.cost if verdict is not None and row.compared else None
    gain, interval = race_table.proof(row)
    outcome = verdict.outcome if verdict is not None and (row.compared or row.failure) else None
    return Line(
        name=row.name,
        winner=row.winner,
        front=row.front,
        outcome=_outcome(row),
        colour=COLOURS[outcome] if outcome is not None else NO_BETTER,
        ending=row.ending,
        rung=(verdict.rung, verdict.rungs) if verdict is not None and verdict.rungs > 1 else None,
        loss=row.said(LOSS),
        bar=_bar(*value, low, high) if value and math.isfinite(value[0]) else None,
        value=row.said(metric),
        effect=gain,
        interval=interval,
        step_time=_ratio(cost.step_time) if cost else "",
        parameters=numbers.signed_percent(cost.parameters) if cost and math.isfinite(cost.parameters) else "",
        flops=_ratio(cost.flops) if cost else "",
        memory=_ratio(cost.memory) if cost else "",
        seeds=str(row.seeds) if row.seeds else "",
    )


def _outcome(row: Row) -> str:
    """The outcome with its mark; nothing where one seed or a rung cannot tell."""
    if row.verdict is None or not (row.failure or (row.compared and row.seeds > 1)):
        return ""
    outcome = row.verdict.outcome
    return f"{MARKS[outcome]} {outcome.value}" + (":" if row.failure else "")


def _ratio(value: float | None) -> str:
    return numbers.ratio(value) if value is not None and math.isfinite(value) else ""


def _bar(mean: float, spread: float, low: float, high: float) -> Bar:
    def place(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    spread = spread if math.isfinite(spread) else 0.0
    return Bar(place(mean - spread), place(mean), place(mean + spread))
