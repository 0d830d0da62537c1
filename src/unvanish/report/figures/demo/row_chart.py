"""Rows on one or two scales side by side, as a demo draws them: decades as bars, shares as dots. It computes nothing."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from unvanish.record.demo_result import Board, Marks, Panel
from unvanish.report.figures.bar_chart import MARGIN, colour, labels
from unvanish.report.figures.palette import CATEGORIES, QUIET
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.wording import numbers

ROW = 27  # pixels
FRAME = 100
GAP = 0.06  # between two scales, of the width
SYMBOLS = ("circle", "diamond", "square", "triangle-up")
SIZES = (13, 9, 9, 9)  # so that a mark on another one leaves both to be seen
COLOURS = (CATEGORIES[1], CATEGORIES[2], CATEGORIES[0], CATEGORIES[3])


def board_picture(board: Board) -> Picture:
    """The board as a picture of the page."""
    return Picture(
        name=board.name,
        title=board.title,
        caption=board.caption,
        alternative="Chart with one row for each of: " + "; ".join(_spoken(board, row) for row in range(len(board.rows))) + ".",
        figure=_figure(board),
        table=_table(board),
    )


def _figure(board: Board) -> go.Figure:
    share = (1 - GAP * (len(board.panels) - 1)) / len(board.panels)
    scales = [_scale(panel, start=index * (share + GAP), width=share) for index, panel in enumerate(board.panels)]
    figure = canvas(
        FRAME + ROW * len(board.rows),
        x=scales[0],
        y=labels(board.rows),
        **{f"xaxis{number}": _quiet() | scale for number, scale in enumerate(scales[1:], start=2)},
        showlegend=True,
        legend={"orientation": "h", "y": 1.0, "x": 0, "yanchor": "bottom", "font": {"size": 12}},
        barmode="overlay",
    )
    rows = list(range(len(board.rows)))[::-1]
    for number, panel in enumerate(board.panels, start=1):
        for index, marks in enumerate(panel.marks):
            bars = panel.decades and index == 0
            trace = _bars(marks, board, rows) if bars else _dots(marks, board, rows, index)
            trace.update(xaxis=f"x{number}" if number > 1 else "x", showlegend=number == len(board.panels), legendgroup=marks.name)
            figure.add_trace(trace)
    return figure


def _quiet() -> dict[str, Any]:
    return {"fixedrange": True, "zeroline": False, "ticks": "", "linecolor": QUIET, "gridcolor": "rgba(128,128,128,0.25)"}


def _scale(panel: Panel, *, start: float, width: float) -> dict[str, Any]:
    scale: dict[str, Any] = {
        "title": titled(panel.axis),
        "domain": [start, start + width],
        "tickangle": 0,
        "nticks": 6,
        "anchor": "y",
    }
    if not panel.decades:
        return scale | {"range": [-0.03, 1.03], "tickformat": ".1f"}
    known = [v for marks in panel.marks for v in marks.values if v is not None and math.isfinite(v)]
    low, high = min([0.0, *known]), max([0.0, *known])
    margin = 3 * MARGIN * max(high - low, 1.0)
    # What is lost grows to the right, as in every picture of decades.
    return scale | {"range": [high + margin, low - margin], "zeroline": True, "zerolinecolor": QUIET}


def _bars(marks: Marks, board: Board, rows: list[int]) -> go.Bar:
    values = [value if value is not None and math.isfinite(value) else 0.0 for value in marks.values]
    reach = max(map(abs, values), default=0.0)
    return go.Bar(
        orientation="h",
        y=rows,
        x=values,
        width=0.66,
        name=marks.name,
        marker={"color": [colour(value, reach) for value in values], "line": {"width": 0}},
        hovertext=[f"{row}, {marks.name}: {_said(v)}" for row, v in zip(board.rows, marks.values, strict=True)],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _dots(marks: Marks, board: Board, rows: list[int], index: int) -> go.Scatter:
    known = [(row, y, v, s) for row, y, v, s in zip(board.rows, rows, marks.values, marks.spreads, strict=True) if _is(v)]
    return go.Scatter(
        x=[v for _, _, v, _ in known],
        y=[y for _, y, _, _ in known],
        mode="markers",
        name=marks.name,
        marker={"color": COLOURS[index], "symbol": SYMBOLS[index], "size": SIZES[index]},
        error_x={"type": "data", "array": [s or 0.0 for *_, s in known], "color": COLOURS[index], "thickness": 2, "width": 0},
        hovertext=[f"{row}, {marks.name}: {_said(v)}{_spread(s)}" for row, _, v, s in known],
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
    )


def _is(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _said(value: float | None) -> str:
    if value is None:
        return "none"
    return "exactly zero" if value == -math.inf else numbers.figure(value, 3)


def _spread(spread: float | None) -> str:
    return f" ± {numbers.figure(spread, 2)}" if spread else ""


def _table(board: Board) -> Table:
    every = [(panel, marks) for panel in board.panels for marks in panel.marks]
    rows = tuple(
        (name, *(_said(marks.values[row]) + _spread(marks.spreads[row]) for _, marks in every))
        for row, name in enumerate(board.rows)
    )
    return Table(("", *(f"{panel.axis}, {marks.name}" for panel, marks in every)), rows)


def _spoken(board: Board, row: int) -> str:
    said = [f"{panel.axis}, {marks.name} {_said(marks.values[row])}" for panel in board.panels for marks in panel.marks]
    return f"{board.rows[row]}: {', '.join(said)}"
