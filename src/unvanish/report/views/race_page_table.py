"""Builds the rows of the page's race table: the text of every cell, and the position of its dot and bar."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unvanish.record.races.verdict import RaceResult
from unvanish.report.figures.palette import NO_BETTER
from unvanish.report.figures.race.effects import OUTCOME_COLOURS
from unvanish.report.views import diff_lines, race_table
from unvanish.report.views.diff_lines import DiffLine
from unvanish.report.views.race_table import OUTCOME_MARKS, RaceRow
from unvanish.report.wording import numbers

LOSS = "loss"


@dataclass(frozen=True, slots=True)
class SpreadBar:
    """The mean and one standard deviation over the seeds to either side, in per cent of the bar's length."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class RacePageRow:
    """One row of the table, its cells as text; "" for what was not measured.

    `ending` says how it ended where it was not compared; `rung` is the number of rungs reached, and of all.
    """

    name: str
    is_winner: bool
    is_on_front: bool
    outcome: str
    colour: str
    ending: str
    rung: tuple[int, int] | None
    loss: str
    bar: SpreadBar | None
    value: str
    effect: str
    interval: str
    step_time: str
    parameters: str
    flops: str
    memory: str
    seeds: str


@dataclass(frozen=True, slots=True)
class RacePageTable:
    """The table of a race.

    Arguments:
        metric: the deciding metric.
        axis_range: the ends of the bars' axis as text.
        has_loss, has_rungs, has_flops, has_memory: whether that column has any content.
        legend: explains the mark of the Pareto front; "" where no row has it.
        sentence: the outcome of the race.
        patch: the winner's patch, line by line.
    """

    title: str
    metric: str
    axis_range: str
    rows: tuple[RacePageRow, ...]
    has_loss: bool
    has_rungs: bool
    has_flops: bool
    has_memory: bool
    legend: str
    sentence: str
    notes: tuple[str, ...]
    patch: tuple[DiffLine, ...]


def build_page_table(race: RaceResult) -> RacePageTable:
    """The table of a race. The axis runs from 0 to 1 for a share, else from 0 (or the least value) to the largest."""
    race_rows = race_table.build_rows(race)
    metric = next(iter(race_table.list_metrics(race)), "")
    values = [value for row in race_rows if (value := row.get_mean_and_spread(metric)) is not None and math.isfinite(value[0])]
    low, high = _axis_limits([mean for mean, _ in values])
    rows = tuple(_build_row(row, metric, low, high) for row in race_rows)
    return RacePageTable(
        title=_title(race),
        metric=metric or "result",
        axis_range=f"{low:.3g} to {high:.3g}",
        rows=rows,
        has_loss=metric != LOSS and any(row.loss for row in rows),
        has_rungs=any(row.rung is not None for row in rows),
        has_flops=any(row.flops for row in rows),
        has_memory=any(row.memory for row in rows),
        legend=race_table.LEGEND if any(row.is_on_front for row in rows) else "",
        sentence=race.sentence,
        notes=race.notes,
        patch=tuple(diff_lines.parse_diff(race.patch)) if race.patch else (),
    )


def _title(race: RaceResult) -> str:
    if not race.verdicts:
        return "The race"
    noun = "change was" if len(race.verdicts) == 1 else "changes were"
    return f"{numbers.spell_count(len(race.verdicts)).capitalize()} {noun} raced against the script as it is"


def _axis_limits(means: list[float]) -> tuple[float, float]:
    if not means:
        return 0.0, 1.0
    low = min(0.0, *means)
    return low, 1.0 if low == 0 and 0.5 < max(means) <= 1 else max(*means, low + 1e-9)


def _build_row(row: RaceRow, metric: str, low: float, high: float) -> RacePageRow:
    value, verdict = row.get_mean_and_spread(metric), row.verdict
    cost = verdict.cost if verdict is not None and row.is_compared else None
    gain, interval = race_table.format_effect(row)
    outcome = verdict.outcome if verdict is not None and (row.is_compared or row.failure) else None
    return RacePageRow(
        name=row.name,
        is_winner=row.is_winner,
        is_on_front=row.is_on_front,
        outcome=_format_outcome(row),
        colour=OUTCOME_COLOURS[outcome] if outcome is not None else NO_BETTER,
        ending=row.ending,
        rung=(verdict.rung, verdict.rungs) if verdict is not None and verdict.rungs > 1 else None,
        loss=row.format_metric(LOSS),
        bar=_build_bar(*value, low, high) if value and math.isfinite(value[0]) else None,
        value=row.format_metric(metric),
        effect=gain,
        interval=interval,
        step_time=_format_ratio(cost.step_time) if cost else "",
        parameters=numbers.format_percent_change(cost.parameters) if cost and math.isfinite(cost.parameters) else "",
        flops=_format_ratio(cost.flops) if cost else "",
        memory=_format_ratio(cost.memory) if cost else "",
        seeds=str(row.seeds) if row.seeds else "",
    )


def _format_outcome(row: RaceRow) -> str:
    """The outcome with its mark; "" where a single seed or a rung proves nothing."""
    if row.verdict is None or not (row.failure or (row.is_compared and row.seeds > 1)):
        return ""
    outcome = row.verdict.outcome
    return f"{OUTCOME_MARKS[outcome]} {outcome.value}" + (":" if row.failure else "")


def _format_ratio(value: float | None) -> str:
    return numbers.format_ratio(value) if value is not None and math.isfinite(value) else ""


def _build_bar(mean: float, spread: float, low: float, high: float) -> SpreadBar:
    def to_percent(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    spread = spread if math.isfinite(spread) else 0.0
    return SpreadBar(to_percent(mean - spread), to_percent(mean), to_percent(mean + spread))
