"""Draws depth by step: one row a site with the output at the top, one column a sampled step on a true step axis.

White, colour, grey (not measured) and hatching (not a number) each mean one thing. What the values mean is the caller's matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from unvanish.record.run import Matrix
from unvanish.report.figures.palette import INK, QUIET, UNMEASURED
from unvanish.report.figures.picture import Table, canvas, titled
from unvanish.report.views.shown_rows import Columns, Ladder, evenly
from unvanish.report.wording import numbers
from unvanish.report.wording.places import shortened

LABELS = 24  # row labels that can be read beside each other
LABEL_WIDTH = 20
TABLE_COLUMNS = 10
FRAME_SHARE = 0.4  # rows that alternate (weights, activations) are framed together where this share of them is named


@dataclass(frozen=True, slots=True)
class Scale:
    """How a value becomes a colour: colour stops, the values at their ends (a share where `low` is 0, else decades), a title."""

    stops: tuple[tuple[float, str], ...]
    low: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows that belong together, first and last, and the words beside them."""

    first: int
    last: int
    text: str


def symmetric(values: Matrix, stops: tuple[tuple[float, str], ...], title: str) -> Scale:
    """A scale in decades with white at 0, as wide as the values need, with one decade in reserve for exact zeros."""
    finite = np.abs(values[np.isfinite(values)])
    most = (float(finite.max()) if finite.size else 0.0) + float(np.any(values == -np.inf))
    reach = max(2.0, 2.0 * np.ceil(most / 2))  # even, so that the bar's five ticks are whole decades
    return Scale(stops, -reach, reach, title)


@dataclass(frozen=True, slots=True)
class Cells:
    """What is drawn: rows, columns, and for each cell (columns, rows) its value, whether it is no number, and how it is said."""

    rows: Ladder
    columns: Columns
    values: Matrix
    broken: NDArray[np.bool_]
    say: Callable[[float], str]

    def words(self, row: int, column: int) -> str:
        """One cell in words."""
        return "not a number" if self.broken[column, row] else self.say(float(self.values[column, row]))


def heatmap(cells: Cells, scale: Scale, *, frames: tuple[Frame, ...] = (), ends: tuple[str, str] = ("input", "loss")) -> go.Figure:
    """The figure, with the ends of the network named on its lowest and highest row."""
    rows, across = cells.rows, cells.columns
    figure = canvas(
        round(len(rows) * min(26.0, max(8.0, 520 / len(rows)))) + 118,
        x=_step_axis(across),
        y=_row_axis(rows, ends),
        plot_bgcolor=UNMEASURED,
        barmode="overlay",
        bargap=0,
    )
    hover = [
        [f"{label}, step {step:,}: {numbers.typeset(cells.words(row, column))}" for column, step in enumerate(across.steps)]
        for row, label in enumerate(rows.labels)
    ]
    figure.add_trace(
        go.Heatmap(
            z=np.clip(cells.values, scale.low, scale.high).T,
            x=across.edges,
            y=np.arange(len(rows) + 1) - 0.5,
            text=hover,
            hovertemplate="%{text}<extra></extra>",
            hoverongaps=False,
            ygap=1 if len(rows) <= LABELS else 0,
            zmin=scale.low,
            zmax=scale.high,
            colorscale=[list(stop) for stop in scale.stops],
            colorbar=_colour_bar(scale),
        )
    )
    if cells.broken.any():
        figure.add_trace(_hatching(across, cells.broken))
    for frame in frames:
        _add_frame(figure, frame, len(rows))
    return figure


def _step_axis(across: Columns) -> dict[str, object]:
    ticks = {"tickvals": across.steps.tolist()} if len(across.steps) <= 4 else {"nticks": 8, "tickformat": ",d"}
    return {"title": titled("step"), "range": [across.edges[0], across.edges[-1]], "showgrid": False, "mirror": True, **ticks}


def _row_axis(rows: Ladder, ends: tuple[str, str]) -> dict[str, object]:
    stride = -(-len(rows) // LABELS)
    top = len(rows) - 1
    shown = [*(row for row in range(0, top, stride) if top - row >= stride or row == 0), top]
    text = [shortened(rows.labels[row], LABEL_WIDTH) for row in shown]
    if len(text) > 1:
        text[0] = f"{ends[0]} · {text[0]}"
        text[-1] = f"{ends[1]} · {text[-1]}"
    return {"range": [-0.5, len(rows) - 0.5], "tickvals": shown, "ticktext": text, "showgrid": False, "mirror": True}


def _colour_bar(scale: Scale) -> dict[str, object]:
    ticks = [float(tick) for tick in np.linspace(scale.low, scale.high, 5)]
    return {
        "orientation": "h",
        "thickness": 10,
        "outlinewidth": 0.5,
        "outlinecolor": QUIET,
        "len": 0.7,
        "x": 0,
        "xanchor": "left",
        "y": 0,
        "yanchor": "bottom",
        "yref": "container",
        "tickvals": ticks,
        "ticktext": [numbers.typeset(f"{tick:+g}" if tick else "0") if scale.low < 0 else f"{tick:.0%}" for tick in ticks],
        "title": {"text": scale.title, "side": "bottom", "font": {"color": QUIET, "size": 12}},
    }


def _hatching(columns: Columns, broken: NDArray[np.bool_]) -> go.Bar:
    """One hatched bar for each unbroken stretch of cells that are not numbers."""
    edges = columns.edges
    stretches: list[tuple[int, float, float]] = []
    for row, cells in enumerate(broken.T):
        turns = np.flatnonzero(np.diff(np.concatenate([[0], cells.astype(np.int8), [0]])))
        stretches += [(row, float(edges[a]), float(edges[b])) for a, b in zip(turns[::2], turns[1::2], strict=True)]
    return go.Bar(
        orientation="h",
        y=[s[0] for s in stretches],
        base=[s[1] for s in stretches],
        x=[s[2] - s[1] for s in stretches],
        width=1.0,
        marker={"line": {"width": 0}, "pattern": {"shape": "/", "bgcolor": "#ffffff", "fgcolor": INK, "size": 7, "solidity": 0.25}},
        hoverinfo="skip",
    )


def frames(marked: list[int], text: str) -> tuple[Frame, ...]:
    """The marked rows as few frames: one for each stretch, or a single one where they fill enough of the rows between."""
    if not marked:
        return ()
    first, last = marked[0], marked[-1]
    if len(marked) >= FRAME_SHARE * (last - first + 1):
        return (Frame(first, last, text),)
    breaks = [i for i in range(1, len(marked)) if marked[i] != marked[i - 1] + 1]
    parts = [marked[a:b] for a, b in zip([0, *breaks], [*breaks, len(marked)], strict=True)]
    return tuple(Frame(part[0], part[-1], text if part is parts[-1] else "") for part in parts)


def _add_frame(figure: go.Figure, frame: Frame, rows: int) -> None:
    # In shares of the plot, not on its axes: a line on the axes would be cut in half at the plot's edge.
    figure.add_shape(
        type="rect",
        xref="paper",
        yref="paper",
        x0=0,
        x1=1,
        y0=frame.first / rows,
        y1=(frame.last + 1) / rows,
        line={"color": INK, "width": 2.5},
        fillcolor="rgba(0,0,0,0)",
    )
    if frame.text:
        figure.add_annotation(
            text=frame.text,
            xref="paper",
            yref="paper",
            x=1,
            y=(frame.last + 1) / rows,
            xanchor="right",
            yanchor="middle",
            showarrow=False,
            bgcolor="#ffffff",
            bordercolor=INK,
            borderwidth=1.5,
            borderpad=4,
            xshift=-10,
            font={"size": 12},
        )


def table(cells: Cells) -> Table:
    """The numbers of a heat map, output first as it is drawn, at up to ten of its steps."""
    total = len(cells.columns.steps)
    chosen = evenly(list(range(total)), TABLE_COLUMNS)
    lines = [(cells.rows.labels[row], *(cells.words(row, column) for column in chosen)) for row in reversed(range(len(cells.rows)))]
    note = "" if len(chosen) == total else f"{len(chosen)} of the {total} steps shown above; the run's file has all."
    return Table(("site", *(f"step {cells.columns.steps[column]:,}" for column in chosen)), tuple(lines), note)


def keys(cells: Cells) -> tuple[tuple[str, str], ...]:
    """The marks that the picture uses beside its colours, with their meaning."""
    hatched = (("hatched", "not a number (NaN or infinite)"),) if cells.broken.any() else ()
    return hatched + ((("unmeasured", "not measured"),) if (np.isnan(cells.values) & ~cells.broken).any() else ())
