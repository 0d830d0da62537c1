"""Builds the figure of a line chart of a demo, with a horizontal reference level where there is one."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from unvanish.record.demo_result import LineChart, LineSeries
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.views.row_selection import sample_evenly
from unvanish.report.wording import numbers

MAX_MARKERS = 30  # points of a line that can still be told apart
MAX_TABLE_COLUMNS = 10
SUMMARY_POINTS = 4  # of a line, in the text alternative


def build_line_chart_picture(chart: LineChart) -> Picture:
    """The chart as a picture."""
    level = f" {chart.reference_level[0]}: {_format_value(chart.reference_level[1])}." if chart.reference_level is not None else ""
    return Picture(
        name=chart.name,
        title=chart.title,
        caption=chart.caption,
        text_alternative=f"Line chart, {chart.y_label} by {chart.x_label}. "
        + " ".join(_describe_line(line) for line in chart.lines)
        + level,
        figure=_figure(chart),
        table=_table(chart),
    )


def _figure(chart: LineChart) -> go.Figure:
    y = {"range": [-0.02, 1.02], "tickformat": ".1f"} if chart.y_is_share else {"exponentformat": "power"}
    figure = build_empty_figure(
        350,
        x={"title": build_axis_title(chart.x_label), "showgrid": False, "tickformat": ",d"},
        y={"title": build_axis_title(chart.y_label), **y},
        showlegend=len(chart.lines) > 1 or chart.reference_level is not None,
        legend={"orientation": "h", "y": -0.2, "x": 0, "yanchor": "top", "font": {"size": 12}},
    )
    for index, line in enumerate(chart.lines):
        figure.add_trace(_build_line(line, index))
    if chart.reference_level is not None:
        figure.add_trace(_build_level(chart, *chart.reference_level))
    return figure


def _build_level(chart: LineChart, name: str, value: float) -> go.Scatter:
    """A dotted horizontal line, named in the legend and not beside it, where it would cover other lines."""
    xs = [x for line in chart.lines for x in line.x]
    return go.Scatter(
        x=[min(xs), max(xs)],
        y=[value, value],
        mode="lines",
        name=name,
        line={"color": QUIET, "dash": "dot", "width": 1.5},
        hovertemplate=f"{name}: %{{y:.3g}}<extra></extra>",
    )


def _build_line(line: LineSeries, index: int) -> go.Scatter:
    return go.Scatter(
        x=list(line.x),
        y=[value if math.isfinite(value) else None for value in line.y],
        mode="lines+markers" if len(line.x) <= MAX_MARKERS else "lines",
        name=line.name,
        line={"color": CATEGORIES[index % len(CATEGORIES)], "dash": DASHES[index % len(DASHES)], "width": 2.5},
        hovertemplate="%{fullData.name}, %{x:,}: %{y:.3g}<extra></extra>",
    )


def _table(chart: LineChart) -> Table:
    """One row for each line, with its values at evenly spaced positions of the axis."""
    xs = sorted({x for line in chart.lines for x in line.x})
    selected = sample_evenly(xs, MAX_TABLE_COLUMNS)
    rows = tuple(
        (line.name, *(_format_value(dict(zip(line.x, line.y, strict=True)).get(x)) for x in selected)) for line in chart.lines
    )
    note = "" if len(selected) == len(xs) else f"{len(selected)} of {len(xs):,} places, evenly chosen; the JSON file has all."
    return Table((chart.x_label, *(f"{x:,.0f}" for x in selected)), rows, note)


def _format_value(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "none"
    return "exactly zero" if value == -math.inf else numbers.format_number(value, 3)


def _describe_line(line: LineSeries) -> str:
    points = sample_evenly(list(zip(line.x, line.y, strict=True)), SUMMARY_POINTS)
    return f"{line.name}: " + ", ".join(f"{_format_value(y)} at {x:,.0f}" for x, y in points) + "."
