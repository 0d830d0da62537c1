"""Lines over one axis, as a demo draws them: a colour and a dash for each line, a level to compare with. It computes nothing."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from unvanish.record.demo_result import Chart, Line
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.views.shown_rows import evenly
from unvanish.report.wording import numbers

FEW = 30  # points that can be told apart, and are marked
TABLE_COLUMNS = 10
SPOKEN = 4  # points of a line in the text alternative


def chart_picture(chart: Chart) -> Picture:
    """The chart as a picture of the page."""
    level = f" {chart.level[0]}: {_said(chart.level[1])}." if chart.level is not None else ""
    return Picture(
        name=chart.name,
        title=chart.title,
        caption=chart.caption,
        alternative=f"Line chart, {chart.y} by {chart.x}. " + " ".join(_spoken(line) for line in chart.lines) + level,
        figure=_figure(chart),
        table=_table(chart),
    )


def _figure(chart: Chart) -> go.Figure:
    y = {"range": [-0.02, 1.02], "tickformat": ".1f"} if chart.share else {"exponentformat": "power"}
    figure = canvas(
        350,
        x={"title": titled(chart.x), "showgrid": False, "tickformat": ",d"},
        y={"title": titled(chart.y), **y},
        showlegend=len(chart.lines) > 1 or chart.level is not None,
        legend={"orientation": "h", "y": -0.2, "x": 0, "yanchor": "top", "font": {"size": 12}},
    )
    for index, line in enumerate(chart.lines):
        figure.add_trace(_drawn(line, index))
    if chart.level is not None:
        figure.add_trace(_level(chart, *chart.level))
    return figure


def _level(chart: Chart, name: str, value: float) -> go.Scatter:
    """A line across, named in the legend, where it covers no other."""
    places = [x for line in chart.lines for x in line.x]
    return go.Scatter(
        x=[min(places), max(places)],
        y=[value, value],
        mode="lines",
        name=name,
        line={"color": QUIET, "dash": "dot", "width": 1.5},
        hovertemplate=f"{name}: %{{y:.3g}}<extra></extra>",
    )


def _drawn(line: Line, index: int) -> go.Scatter:
    return go.Scatter(
        x=list(line.x),
        y=[value if math.isfinite(value) else None for value in line.y],
        mode="lines+markers" if len(line.x) <= FEW else "lines",
        name=line.name,
        line={"color": CATEGORIES[index % len(CATEGORIES)], "dash": DASHES[index % len(DASHES)], "width": 2.5},
        hovertemplate="%{fullData.name}, %{x:,}: %{y:.3g}<extra></extra>",
    )


def _table(chart: Chart) -> Table:
    """One row a line, its values at some of the places where it has any."""
    places = sorted({x for line in chart.lines for x in line.x})
    chosen = evenly(places, TABLE_COLUMNS)
    rows = tuple((line.name, *(_said(dict(zip(line.x, line.y, strict=True)).get(x)) for x in chosen)) for line in chart.lines)
    note = "" if len(chosen) == len(places) else f"{len(chosen)} of {len(places):,} places, evenly chosen; the JSON file has all."
    return Table((chart.x, *(f"{x:,.0f}" for x in chosen)), rows, note)


def _said(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "none"
    return "exactly zero" if value == -math.inf else numbers.figure(value, 3)


def _spoken(line: Line) -> str:
    points = evenly(list(zip(line.x, line.y, strict=True)), SPOKEN)
    return f"{line.name}: " + ", ".join(f"{_said(y)} at {x:,.0f}" for x, y in points) + "."
