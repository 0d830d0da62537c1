"""Draws a heat map over sites and sampled steps, one row for each site with the output at the top, on a true step axis.

Grey cells were not measured; hatched cells are not a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from unvanish.record.run import Matrix
from unvanish.report.figures.bar_chart import HATCHING
from unvanish.report.figures.palette import INK, QUIET, UNMEASURED
from unvanish.report.figures.picture import Table, build_axis_title, build_empty_figure
from unvanish.report.views.row_selection import SiteRows, StepColumns, sample_evenly
from unvanish.report.wording import numbers
from unvanish.report.wording.locations import shorten_label

MAX_LABELS = 24  # row labels that can be read beside each other
LABEL_WIDTH = 20  # characters
MAX_TABLE_COLUMNS = 10
FRAME_SHARE = 0.4  # rows that alternate (weights, activations) are framed together where this share of them is marked


@dataclass(frozen=True, slots=True)
class ColourScale:
    """Colour stops (position 0 to 1, colour), the values at their ends (shares where `low` is 0, else decades), and a title."""

    stops: tuple[tuple[float, str], ...]
    low: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class RowFrame:
    """A frame around rows `first` to `last`, and the text beside it ("" for none)."""

    first: int
    last: int
    text: str


def build_symmetric_scale(values: Matrix, stops: tuple[tuple[float, str], ...], title: str) -> ColourScale:
    """A scale in decades, symmetric about 0 and as wide as the values need, with one decade in reserve for exact zeros."""
    finite = np.abs(values[np.isfinite(values)])
    largest = (float(finite.max()) if finite.size else 0.0) + float(np.any(values == -np.inf))
    limit = max(2.0, 2.0 * np.ceil(largest / 2))  # even, so that the colour bar's five ticks are whole decades
    return ColourScale(stops, -limit, limit, title)


@dataclass(frozen=True, slots=True)
class HeatmapCells:
    """The data of a heat map. `values` and `nonfinite` have shape (columns, rows); `format_value` gives the text of a cell."""

    rows: SiteRows
    columns: StepColumns
    values: Matrix
    nonfinite: NDArray[np.bool_]
    format_value: Callable[[float], str]

    def format_cell(self, row: int, column: int) -> str:
        """The text of one cell."""
        return "not a number" if self.nonfinite[column, row] else self.format_value(float(self.values[column, row]))


def draw_heatmap(
    cells: HeatmapCells, scale: ColourScale, *, frames: tuple[RowFrame, ...] = (), ends: tuple[str, str] = ("input", "loss")
) -> go.Figure:
    """The figure. `ends` are the names of the network's two ends, shown at the lowest and the highest row."""
    rows, columns = cells.rows, cells.columns
    figure = build_empty_figure(
        round(len(rows) * min(26.0, max(8.0, 520 / len(rows)))) + 118,
        x=_step_axis(columns),
        y=_row_axis(rows, ends),
        plot_bgcolor=UNMEASURED,
        barmode="overlay",
        bargap=0,
    )
    hover = [
        [f"{label}, step {step:,}: {numbers.typeset(cells.format_cell(row, column))}" for column, step in enumerate(columns.steps)]
        for row, label in enumerate(rows.labels)
    ]
    figure.add_trace(
        go.Heatmap(
            z=np.clip(cells.values, scale.low, scale.high).T,
            x=columns.edges,
            y=np.arange(len(rows) + 1) - 0.5,
            text=hover,
            hovertemplate="%{text}<extra></extra>",
            hoverongaps=False,
            ygap=1 if len(rows) <= MAX_LABELS else 0,
            zmin=scale.low,
            zmax=scale.high,
            colorscale=[list(stop) for stop in scale.stops],
            colorbar=_colour_bar(scale),
        )
    )
    if cells.nonfinite.any():
        figure.add_trace(_hatching(columns, cells.nonfinite))
    for frame in frames:
        _add_frame(figure, frame, len(rows))
    return figure


def _step_axis(columns: StepColumns) -> dict[str, object]:
    ticks = {"tickvals": columns.steps.tolist()} if len(columns.steps) <= 4 else {"nticks": 8, "tickformat": ",d"}
    return {
        "title": build_axis_title("step"),
        "range": [columns.edges[0], columns.edges[-1]],
        "showgrid": False,
        "mirror": True,
        **ticks,
    }


def _row_axis(rows: SiteRows, ends: tuple[str, str]) -> dict[str, object]:
    stride = -(-len(rows) // MAX_LABELS)
    top = len(rows) - 1
    shown = [*(row for row in range(0, top, stride) if top - row >= stride or row == 0), top]
    text = [shorten_label(rows.labels[row], LABEL_WIDTH) for row in shown]
    if len(text) > 1:
        text[0] = f"{ends[0]} · {text[0]}"
        text[-1] = f"{ends[1]} · {text[-1]}"
    return {"range": [-0.5, len(rows) - 0.5], "tickvals": shown, "ticktext": text, "showgrid": False, "mirror": True}


def _colour_bar(scale: ColourScale) -> dict[str, object]:
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


def _hatching(columns: StepColumns, nonfinite: NDArray[np.bool_]) -> go.Bar:
    """One hatched bar for each unbroken stretch of cells that are not numbers; `nonfinite` has shape (columns, rows)."""
    edges = columns.edges
    stretches: list[tuple[int, float, float]] = []
    for row, cells in enumerate(nonfinite.T):
        bounds = np.flatnonzero(np.diff(np.concatenate([[0], cells.astype(np.int8), [0]])))
        stretches += [(row, float(edges[a]), float(edges[b])) for a, b in zip(bounds[::2], bounds[1::2], strict=True)]
    return go.Bar(
        orientation="h",
        y=[s[0] for s in stretches],
        base=[s[1] for s in stretches],
        x=[s[2] - s[1] for s in stretches],
        width=1.0,
        marker={"line": {"width": 0}, "pattern": dict(HATCHING)},
        hoverinfo="skip",
    )


def build_frames(marked: list[int], text: str) -> tuple[RowFrame, ...]:
    """Frames around the marked rows: one for each stretch, or a single one where they fill enough of the rows between."""
    if not marked:
        return ()
    first, last = marked[0], marked[-1]
    if len(marked) >= FRAME_SHARE * (last - first + 1):
        return (RowFrame(first, last, text),)
    breaks = [i for i in range(1, len(marked)) if marked[i] != marked[i - 1] + 1]
    stretches = [marked[a:b] for a, b in zip([0, *breaks], [*breaks, len(marked)], strict=True)]
    return tuple(RowFrame(rows[0], rows[-1], text if rows is stretches[-1] else "") for rows in stretches)


def _add_frame(figure: go.Figure, frame: RowFrame, rows: int) -> None:
    # In fractions of the plot and not in axis units: there a line would be cut in half at the plot's edge.
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


def build_table(cells: HeatmapCells) -> Table:
    """The numbers of a heat map, the output first as in the figure, at up to ten of its steps."""
    total = len(cells.columns.steps)
    selected = sample_evenly(list(range(total)), MAX_TABLE_COLUMNS)
    rows = [
        (cells.rows.labels[row], *(cells.format_cell(row, column) for column in selected))
        for row in reversed(range(len(cells.rows)))
    ]
    note = "" if len(selected) == total else f"{len(selected)} of the {total} steps shown above; the run's file has all."
    return Table(("site", *(f"step {cells.columns.steps[column]:,}" for column in selected)), tuple(rows), note)


def build_legend(cells: HeatmapCells) -> tuple[tuple[str, str], ...]:
    """(swatch, meaning) of the patterns that the figure uses besides its colours."""
    hatched = (("hatched", "not a number (NaN or infinite)"),) if cells.nonfinite.any() else ()
    return hatched + ((("unmeasured", "not measured"),) if (np.isnan(cells.values) & ~cells.nonfinite).any() else ())
