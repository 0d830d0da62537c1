"""What each candidate gives and costs, as a picture: the deciding metric against the time per step, large nets as large marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from unvanish.record.run import Run
from unvanish.record.verdict import RaceResult
from unvanish.report.figures.palette import NO_BETTER, QUIET
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.figures.race.effects import COLOURS, CONTROL_SYMBOL, SYMBOLS
from unvanish.report.views import pareto_front, race_table
from unvanish.report.views.pareto_front import Point
from unvanish.report.views.race_table import Row
from unvanish.report.wording import numbers
from unvanish.report.wording.places import shortened

LABEL = 24
MARK, LARGEST_MARK, RING = 13.0, 40.0, 11.0  # pixels across: of a network of the script's own size, at most, and around it
MARGIN = 0.12  # of the axes' lengths, so that marks and labels are whole


@dataclass(frozen=True, slots=True)
class _Mark:
    """One point with what is written of it. `score` is the mean of the deciding metric."""

    point: Point
    row: Row
    score: float
    spread: float
    front: bool


def pareto_picture(run: Run) -> Picture | None:
    """The candidates that were run to their end and the script as it is; None where nothing was, or nothing stayed finite."""
    race = run.race
    if race is None:
        return None
    metric, marks = next(iter(race_table.metrics(race)), ""), _marks(race)
    if len(marks) < 2:
        return None
    higher = next(e.higher_is_better for v in race.verdicts for e in v.effects if e.metric == metric)
    return Picture(
        name="pareto",
        title=_title(marks, metric),
        caption=f"Each mark is a mean over the seeds: {metric} ({'more' if higher else 'less'} is better), and the time per step "
        "as a multiple of the script's own. The larger the mark, the more parameters. Ringed: nothing else is as good in score, "
        "time and size, and better in one; a dotted line joins them where a better score takes more time.",
        alternative=f"Scatter chart of {metric} against time per step: " + "; ".join(_spoken(mark, metric) for mark in marks) + ".",
        figure=_figure(marks, metric, higher=higher),
        table=_table(race, marks, metric),
    )


def _marks(race: RaceResult) -> list[_Mark]:
    rows = {row.name: row for row in race_table.rows(race)}
    metric = next(iter(race_table.metrics(race)), "")
    found: list[_Mark] = []
    for point in pareto_front.points(race):
        row = rows[point.name]
        score, spread = row.value(metric) or (math.nan, math.nan)
        if math.isfinite(score) and math.isfinite(point.step_time):
            found.append(_Mark(point, row, score, spread if math.isfinite(spread) and row.seeds > 1 else 0.0, row.front))
    return found


def _title(marks: Sequence[_Mark], metric: str) -> str:
    best = max(marks, key=lambda mark: mark.point.gain)
    if best.point.outcome is None:
        return f"Nothing that ran to its end exceeds the script as it is in {metric}"
    others = [mark for mark in marks if mark.front and mark.point.outcome is not None and mark is not best]
    quicker = min(others, key=lambda mark: mark.point.step_time, default=None)
    if quicker is None or quicker.point.step_time * (1 + numbers.SAME_SPEED) >= best.point.step_time:
        return f"{best.point.name} comes out best in {metric}, {numbers.speed_in_words(best.point.step_time)}"
    ratio = quicker.point.step_time / best.point.step_time
    return f"{best.point.name} comes out best in {metric}; {quicker.point.name} takes {numbers.ratio(ratio)} its time per step"


def _figure(marks: Sequence[_Mark], metric: str, *, higher: bool) -> go.Figure:
    times, scores = [mark.point.step_time for mark in marks], [mark.score for mark in marks]
    figure = canvas(
        380,
        x={"title": titled("time per step, as a multiple of the script's own"), "range": _range(times, 0.1)},
        y={"title": titled(metric), "range": _range(scores, 0.0)},
    )
    stairs = _stairs(marks, higher=higher)
    if len(stairs) > 1:
        figure.add_trace(
            go.Scatter(
                x=[mark.point.step_time for mark in stairs],
                y=[mark.score for mark in stairs],
                mode="lines",
                line={"color": QUIET, "dash": "dot", "width": 1.5, "shape": "hv"},
                hoverinfo="skip",
            )
        )
    for place, mark in enumerate(sorted(marks, key=lambda mark: mark.point.step_time)):
        figure.add_trace(_ring(mark, above=place % 2 == 0))
        figure.add_trace(_drawn(mark, metric))
    return figure


def _ring(mark: _Mark, *, above: bool) -> go.Scatter:
    """The name of a mark, and the ring around it, which is not seen where it is not on the front."""
    return go.Scatter(
        x=[mark.point.step_time],
        y=[mark.score],
        mode="markers+text",
        text=[shortened(mark.point.name, LABEL)],
        textposition="top center" if above else "bottom center",
        marker={
            "color": NO_BETTER,
            "symbol": "circle-open",
            "size": _size(mark) + RING,
            "line": {"width": 2},
            "opacity": float(mark.front),
        },
        hoverinfo="skip",
        cliponaxis=False,
    )


def _drawn(mark: _Mark, metric: str) -> go.Scatter:
    outcome = mark.point.outcome
    colour = COLOURS[outcome] if outcome is not None else QUIET
    return go.Scatter(
        x=[mark.point.step_time],
        y=[mark.score],
        mode="markers",
        marker={
            "color": colour,
            "symbol": SYMBOLS[outcome] if outcome is not None else CONTROL_SYMBOL,
            "size": _size(mark),
        },
        error_y={"type": "data", "array": [mark.spread], "color": colour, "thickness": 2, "width": 0},
        hovertemplate=f"{_spoken(mark, metric)}<extra></extra>",
        cliponaxis=False,
    )


def _size(mark: _Mark) -> float:
    """Pixels across; the area says how many parameters."""
    return min(LARGEST_MARK, MARK * math.sqrt(mark.point.parameters))


def _stairs(marks: Sequence[_Mark], *, higher: bool) -> list[_Mark]:
    """Those on the front that score more than all that are faster."""
    sign = 1.0 if higher else -1.0
    best, found = -math.inf, list[_Mark]()
    for mark in sorted(filter(_is_on_front, marks), key=lambda mark: (mark.point.step_time, -sign * mark.score)):
        if sign * mark.score > best:
            best = sign * mark.score
            found.append(mark)
    return found


def _is_on_front(mark: _Mark) -> bool:
    return mark.front


def _range(values: Sequence[float], least: float) -> list[float]:
    """The axis: all values with a margin, and not so near that equal ones look apart."""
    low, high = min(values), max(values)
    width = max(high - low, least, 1e-9 * max(abs(low), abs(high), 1.0))
    return [low - MARGIN * width - (width - (high - low)) / 2, high + MARGIN * width + (width - (high - low)) / 2]


def _spoken(mark: _Mark, metric: str) -> str:
    front = ", on the front" if mark.front else ""
    cost = f"time per step {numbers.ratio(mark.point.step_time)}, parameters {numbers.signed_percent(mark.point.parameters)}"
    return f"{mark.point.name}: {metric} {mark.row.said(metric)}, {cost}{front}"


def _table(race: RaceResult, marks: Sequence[_Mark], metric: str) -> Table:
    rows = tuple(
        (
            mark.point.name,
            mark.row.said(metric),
            numbers.ratio(mark.point.step_time),
            numbers.signed_percent(mark.point.parameters),
            "yes" if mark.front else "no",
        )
        for mark in marks
    )
    left_out = len(race.verdicts) + 1 - len(marks)
    note = f"{numbers.plural(left_out, 'candidate')} not run to the end, or without a finite figure, left out." if left_out else ""
    return Table(("change", metric, "time per step", "parameters", "on the front"), rows, note.capitalize())
