"""Builds the figure of a row chart of a demo: rows on one or two scales side by side, decades as bars and shares as dots."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from unvanish.record.demo_result import RowChart, RowChartPanel, RowSeries
from unvanish.report.figures.bar_chart import AXIS_MARGIN, build_row_axis, choose_colour
from unvanish.report.figures.palette import CATEGORIES, QUIET
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.wording import numbers

ROW_HEIGHT = 27  # pixels
FRAME_HEIGHT = 100  # pixels
GAP = 0.06  # between two scales, as a share of the width
SYMBOLS = ("circle", "diamond", "square", "triangle-up")
SYMBOL_SIZES = (13, 9, 9, 9)  # so that two symbols at one place can both be seen
COLOURS = (CATEGORIES[1], CATEGORIES[2], CATEGORIES[0], CATEGORIES[3])


def build_row_chart_picture(chart: RowChart) -> Picture:
    """The chart as a picture."""
    return Picture(
        name=chart.name,
        title=chart.title,
        caption=chart.caption,
        text_alternative="Chart with one row for each of: "
        + "; ".join(_describe_row(chart, row) for row in range(len(chart.rows)))
        + ".",
        figure=_figure(chart),
        table=_table(chart),
    )


def _figure(chart: RowChart) -> go.Figure:
    share = (1 - GAP * (len(chart.panels) - 1)) / len(chart.panels)
    scales = [_build_scale(panel, start=index * (share + GAP), width=share) for index, panel in enumerate(chart.panels)]
    figure = build_empty_figure(
        FRAME_HEIGHT + ROW_HEIGHT * len(chart.rows),
        x=scales[0],
        y=build_row_axis(chart.rows),
        **{f"xaxis{number}": _axis_style() | scale for number, scale in enumerate(scales[1:], start=2)},
        showlegend=True,
        legend={"orientation": "h", "y": 1.0, "x": 0, "yanchor": "bottom", "font": {"size": 12}},
        barmode="overlay",
    )
    rows = list(range(len(chart.rows)))[::-1]
    for number, panel in enumerate(chart.panels, start=1):
        for index, series in enumerate(panel.series):
            bars = panel.in_decades and index == 0
            trace = _build_bars(series, chart, rows) if bars else _build_dots(series, chart, rows, index)
            trace.update(xaxis=f"x{number}" if number > 1 else "x", showlegend=number == len(chart.panels), legendgroup=series.name)
            figure.add_trace(trace)
    return figure


def _axis_style() -> dict[str, Any]:
    return {"fixedrange": True, "zeroline": False, "ticks": "", "linecolor": QUIET, "gridcolor": "rgba(128,128,128,0.25)"}


def _build_scale(panel: RowChartPanel, *, start: float, width: float) -> dict[str, Any]:
    scale: dict[str, Any] = {
        "title": build_axis_title(panel.axis),
        "domain": [start, start + width],
        "tickangle": 0,
        "nticks": 6,
        "anchor": "y",
    }
    if not panel.in_decades:
        return scale | {"range": [-0.03, 1.03], "tickformat": ".1f"}
    known = [v for series in panel.series for v in series.values if v is not None and math.isfinite(v)]
    low, high = min([0.0, *known]), max([0.0, *known])
    margin = 3 * AXIS_MARGIN * max(high - low, 1.0)
    # Losses grow to the right, as in every picture of decades.
    return scale | {"range": [high + margin, low - margin], "zeroline": True, "zerolinecolor": QUIET}


def _build_bars(series: RowSeries, chart: RowChart, rows: list[int]) -> go.Bar:
    values = [value if value is not None and math.isfinite(value) else 0.0 for value in series.values]
    full_scale = max(map(abs, values), default=0.0)
    return go.Bar(
        orientation="h",
        y=rows,
        x=values,
        width=0.66,
        name=series.name,
        marker={"color": [choose_colour(value, full_scale) for value in values], "line": {"width": 0}},
        hovertext=[f"{row}, {series.name}: {_format_value(v)}" for row, v in zip(chart.rows, series.values, strict=True)],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _build_dots(series: RowSeries, chart: RowChart, rows: list[int], index: int) -> go.Scatter:
    known = [(row, y, v, s) for row, y, v, s in zip(chart.rows, rows, series.values, series.spreads, strict=True) if _is_finite(v)]
    return go.Scatter(
        x=[v for _, _, v, _ in known],
        y=[y for _, y, _, _ in known],
        mode="markers",
        name=series.name,
        marker={"color": COLOURS[index], "symbol": SYMBOLS[index], "size": SYMBOL_SIZES[index]},
        error_x={"type": "data", "array": [s or 0.0 for *_, s in known], "color": COLOURS[index], "thickness": 2, "width": 0},
        hovertext=[f"{row}, {series.name}: {_format_value(v)}{_format_spread(s)}" for row, _, v, s in known],
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
    )


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _format_value(value: float | None) -> str:
    if value is None:
        return "none"
    return "exactly zero" if value == -math.inf else numbers.format_number(value, 3)


def _format_spread(spread: float | None) -> str:
    return f" ± {numbers.format_number(spread, 2)}" if spread else ""


def _table(chart: RowChart) -> Table:
    columns = [(panel, series) for panel in chart.panels for series in panel.series]
    rows = tuple(
        (name, *(_format_value(series.values[row]) + _format_spread(series.spreads[row]) for _, series in columns))
        for row, name in enumerate(chart.rows)
    )
    return Table(("", *(f"{panel.axis}, {series.name}" for panel, series in columns)), rows)


def _describe_row(chart: RowChart, row: int) -> str:
    values = [
        f"{panel.axis}, {series.name} {_format_value(series.values[row])}" for panel in chart.panels for series in panel.series
    ]
    return f"{chart.rows[row]}: {', '.join(values)}"
