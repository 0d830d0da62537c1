"""Builds the Pareto chart of a race: the deciding metric against the time per step, with marks as large as the networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from unvanish.record.races.verdict import EQUAL_TIME_RATIO, RaceResult
from unvanish.record.run import Run
from unvanish.report.figures.palette import NO_BETTER, QUIET
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.figures.race.effects import CONTROL_SYMBOL, OUTCOME_COLOURS, OUTCOME_SYMBOLS
from unvanish.report.views import pareto_front, race_table
from unvanish.report.views.pareto_front import ParetoPoint
from unvanish.report.views.race_table import RaceRow
from unvanish.report.wording import numbers
from unvanish.report.wording.locations import shorten_label

LABEL_WIDTH = 24  # characters
# Pixels across: of a mark for a network of the script's own size, of the largest mark, and how much wider a ring is than its mark.
MARK_SIZE, MAX_MARK_SIZE, RING_MARGIN = 13.0, 40.0, 11.0
MARGIN = 0.12  # of the axes' lengths, so that marks and labels are not cut off


@dataclass(frozen=True, slots=True)
class _Mark:
    """One point of the chart. `score` and `spread` are mean and standard deviation of the deciding metric over the seeds."""

    point: ParetoPoint
    row: RaceRow
    score: float
    spread: float
    is_on_front: bool


def build_pareto_picture(run: Run) -> Picture | None:
    """The candidates that were run to their end and the script as it is; None where there are none with finite values."""
    race = run.race
    if race is None:
        return None
    metric, marks = next(iter(race_table.list_metrics(race)), ""), _list_marks(race)
    if len(marks) < 2:
        return None
    higher_is_better = next(e.higher_is_better for v in race.verdicts for e in v.effects if e.metric == metric)
    direction = "more" if higher_is_better else "less"
    return Picture(
        name="pareto",
        title=_title(marks, metric),
        caption=f"Each mark is a mean over the seeds: {metric} ({direction} is better), and the time per step "
        "as a multiple of the script's own. The larger the mark, the more parameters. Ringed: nothing else is as good in score, "
        "time and size, and better in one; a dotted line joins them where a better score takes more time.",
        text_alternative=f"Scatter chart of {metric} against time per step: "
        + "; ".join(_describe_mark(mark, metric) for mark in marks)
        + ".",
        figure=_figure(marks, metric, higher_is_better=higher_is_better),
        table=_table(race, marks, metric),
    )


def _list_marks(race: RaceResult) -> list[_Mark]:
    rows = {row.name: row for row in race_table.build_rows(race)}
    metric = next(iter(race_table.list_metrics(race)), "")
    marks: list[_Mark] = []
    for point in pareto_front.build_points(race):
        row = rows[point.name]
        score, spread = row.get_mean_and_spread(metric) or (math.nan, math.nan)
        if math.isfinite(score) and math.isfinite(point.step_time):
            marks.append(_Mark(point, row, score, spread if math.isfinite(spread) and row.seeds > 1 else 0.0, row.is_on_front))
    return marks


def _title(marks: Sequence[_Mark], metric: str) -> str:
    best = max(marks, key=lambda mark: mark.point.gain)
    if best.point.outcome is None:
        return f"Nothing that ran to its end exceeds the script as it is in {metric}"
    others = [mark for mark in marks if mark.is_on_front and mark.point.outcome is not None and mark is not best]
    faster = min(others, key=lambda mark: mark.point.step_time, default=None)
    if faster is None or faster.point.step_time * EQUAL_TIME_RATIO >= best.point.step_time:
        return f"{best.point.name} comes out best in {metric}, {numbers.describe_speed(best.point.step_time)}"
    ratio = faster.point.step_time / best.point.step_time
    return (
        f"{best.point.name} comes out best in {metric}; {faster.point.name} takes {numbers.format_ratio(ratio)} its time per step"
    )


def _figure(marks: Sequence[_Mark], metric: str, *, higher_is_better: bool) -> go.Figure:
    times, scores = [mark.point.step_time for mark in marks], [mark.score for mark in marks]
    figure = build_empty_figure(
        380,
        x={"title": build_axis_title("time per step, as a multiple of the script's own"), "range": _axis_range(times, 0.1)},
        y={"title": build_axis_title(metric), "range": _axis_range(scores, 0.0)},
    )
    steps = _list_steps(marks, higher_is_better=higher_is_better)
    if len(steps) > 1:
        figure.add_trace(
            go.Scatter(
                x=[mark.point.step_time for mark in steps],
                y=[mark.score for mark in steps],
                mode="lines",
                line={"color": QUIET, "dash": "dot", "width": 1.5, "shape": "hv"},
                hoverinfo="skip",
            )
        )
    for place, mark in enumerate(sorted(marks, key=lambda mark: mark.point.step_time)):
        figure.add_trace(_build_ring(mark, above=place % 2 == 0))
        figure.add_trace(_build_mark(mark, metric))
    return figure


def _build_ring(mark: _Mark, *, above: bool) -> go.Scatter:
    """The name of a mark, and the ring around it, which is invisible where the mark is not on the front."""
    return go.Scatter(
        x=[mark.point.step_time],
        y=[mark.score],
        mode="markers+text",
        text=[shorten_label(mark.point.name, LABEL_WIDTH)],
        textposition="top center" if above else "bottom center",
        marker={
            "color": NO_BETTER,
            "symbol": "circle-open",
            "size": _mark_size(mark) + RING_MARGIN,
            "line": {"width": 2},
            "opacity": float(mark.is_on_front),
        },
        hoverinfo="skip",
        cliponaxis=False,
    )


def _build_mark(mark: _Mark, metric: str) -> go.Scatter:
    outcome = mark.point.outcome
    colour = OUTCOME_COLOURS[outcome] if outcome is not None else QUIET
    return go.Scatter(
        x=[mark.point.step_time],
        y=[mark.score],
        mode="markers",
        marker={
            "color": colour,
            "symbol": OUTCOME_SYMBOLS[outcome] if outcome is not None else CONTROL_SYMBOL,
            "size": _mark_size(mark),
        },
        error_y={"type": "data", "array": [mark.spread], "color": colour, "thickness": 2, "width": 0},
        hovertemplate=f"{_describe_mark(mark, metric)}<extra></extra>",
        cliponaxis=False,
    )


def _mark_size(mark: _Mark) -> float:
    """Pixels across, so that the area is proportional to the number of parameters."""
    return min(MAX_MARK_SIZE, MARK_SIZE * math.sqrt(mark.point.parameters))


def _list_steps(marks: Sequence[_Mark], *, higher_is_better: bool) -> list[_Mark]:
    """The marks on the front that score more than all faster ones: the corners of the dotted line."""
    sign = 1.0 if higher_is_better else -1.0
    best, corners = -math.inf, list[_Mark]()
    for mark in sorted(filter(_is_on_front, marks), key=lambda mark: (mark.point.step_time, -sign * mark.score)):
        if sign * mark.score > best:
            best = sign * mark.score
            corners.append(mark)
    return corners


def _is_on_front(mark: _Mark) -> bool:
    return mark.is_on_front


def _axis_range(values: Sequence[float], least: float) -> list[float]:
    """The axis' range: all values with a margin, and `least` wide, so that nearly equal values do not look far apart."""
    low, high = min(values), max(values)
    width = max(high - low, least, 1e-9 * max(abs(low), abs(high), 1.0))
    return [low - MARGIN * width - (width - (high - low)) / 2, high + MARGIN * width + (width - (high - low)) / 2]


def _describe_mark(mark: _Mark, metric: str) -> str:
    front_note = ", on the front" if mark.is_on_front else ""
    time, parameters = numbers.format_ratio(mark.point.step_time), numbers.format_percent_change(mark.point.parameters)
    cost = f"time per step {time}, parameters {parameters}"
    return f"{mark.point.name}: {metric} {mark.row.format_metric(metric)}, {cost}{front_note}"


def _table(race: RaceResult, marks: Sequence[_Mark], metric: str) -> Table:
    rows = tuple(
        (
            mark.point.name,
            mark.row.format_metric(metric),
            numbers.format_ratio(mark.point.step_time),
            numbers.format_percent_change(mark.point.parameters),
            "yes" if mark.is_on_front else "no",
        )
        for mark in marks
    )
    left_out = len(race.verdicts) + 1 - len(marks)
    note = (
        f"{numbers.pluralise(left_out, 'candidate')} not run to the end, or without a finite figure, left out." if left_out else ""
    )
    return Table(("change", metric, "time per step", "parameters", "on the front"), rows, note.capitalize())
