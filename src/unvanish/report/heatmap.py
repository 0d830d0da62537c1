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
from unvanish.report.ladder import Columns, Ladder, evenly
from unvanish.report.palette import INK, QUIET, UNMEASURED
from unvanish.report.picture import Table, canvas, titled
from unvanish.report.places import shortened

LABELS = 24  # row labels that can be read beside each other
LABEL_WIDTH = 20
TABLE_COLUMNS = 10
FRAME_SHARE = 0.4  # rows that alternate (weights, activations) are framed together where this share of them is named


@dataclass(frozen=True, slots=True)
class Scale:
    """How a value becomes a colour: colour stops, the values at their ends, the title of the colour bar, and its unit."""

    stops: tuple[tuple[float, str], ...]
    low: float
    high: float
    title: str
    unit: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows that belong together, first and last, and the words beside them."""

    first: int
    last: int
    text: str


def symmetric(values: Matrix, stops: tuple[tuple[float, str], ...], title: str) -> Scale:
    """A scale in decades with white at 0, as wide as the values need, with one decade in reserve for exact zeros."""
    finite = np.abs(values[np.isfinite(values)])
    reach = max(1.0, float(np.ceil(finite.max()))) if finite.size else 1.0
    reach += float(np.any(values == -np.inf))
    return Scale(stops, -reach, reach, title, "decades")


def heatmap(
    rows: Ladder,
    columns: Columns,
    *,
    values: Matrix,
    scale: Scale,
    say: Callable[[float], str],
    broken: NDArray[np.bool_] | None = None,
    frames: tuple[Frame, ...] = (),
    ends: tuple[str, str] = ("input", "loss"),
) -> go.Figure:
    """The figure. `values` and `broken` have shape (columns, rows); `say` puts a value in words for the reader's pointer."""
    height = round(len(rows) * min(26.0, max(8.0, 520 / len(rows))))
    figure = canvas(
        height + 118,
        x={"title": titled("step"), "range": [columns.edges[0], columns.edges[-1]], "showgrid": False, "tickformat": ",d"}
        | ({"tickvals": columns.steps.tolist()} if len(columns.steps) <= 4 else {"nticks": 8}),
        y=_row_axis(rows, ends),
        plot_bgcolor=UNMEASURED,
        barmode="overlay",
        bargap=0,
    )
    words = [
        [("not a number" if broken is not None and broken[c, r] else say(values[c, r])) for c in range(len(values))]
        for r in range(len(rows))
    ]
    hover = [
        [f"{label}, step {step:,}: {cell}" for step, cell in zip(columns.steps, line, strict=True)]
        for label, line in zip(rows.labels, words, strict=True)
    ]
    figure.add_trace(
        go.Heatmap(
            z=np.clip(values, scale.low, scale.high).T,
            x=columns.edges,
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
    if broken is not None and broken.any():
        figure.add_trace(_hatching(columns, broken))
    for frame in frames:
        _add_frame(figure, columns, frame)
    return figure


def _row_axis(rows: Ladder, ends: tuple[str, str]) -> dict[str, object]:
    shown = evenly(list(range(len(rows))), LABELS)
    text = [shortened(rows.labels[row], LABEL_WIDTH) for row in shown]
    text[0] = f"{ends[0]} · {text[0]}"
    text[-1] = f"{ends[1]} · {text[-1]}"
    return {"range": [-0.5, len(rows) - 0.5], "tickvals": shown, "ticktext": text, "showgrid": False}


def _colour_bar(scale: Scale) -> dict[str, object]:
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
        "nticks": 7,
        "tickformat": ".0%" if scale.unit == "share" else "+d",
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


def _add_frame(figure: go.Figure, columns: Columns, frame: Frame) -> None:
    figure.add_shape(
        type="rect",
        x0=columns.edges[0],
        x1=columns.edges[-1],
        y0=frame.first - 0.5,
        y1=frame.last + 0.5,
        line={"color": INK, "width": 2.5},
        fillcolor="rgba(0,0,0,0)",
    )
    if frame.text:
        figure.add_annotation(
            text=frame.text,
            x=columns.edges[-1],
            y=frame.last + 0.5,
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


def table(
    rows: Ladder, columns: Columns, *, values: Matrix, say: Callable[[float], str], broken: NDArray[np.bool_] | None = None
) -> Table:
    """The numbers of a heat map, output first as it is drawn, at up to ten of its steps."""
    chosen = evenly(list(range(len(columns.steps))), TABLE_COLUMNS)
    lines = [
        (rows.labels[row], *("not a number" if broken is not None and broken[c, row] else say(values[c, row]) for c in chosen))
        for row in reversed(range(len(rows)))
    ]
    note = (
        ""
        if len(chosen) == len(columns.steps)
        else f"{len(chosen)} of the {len(columns.steps)} steps shown above; the run's file has all."
    )
    return Table(("site", *(f"step {columns.steps[c]:,}" for c in chosen)), tuple(lines), note)


def keys(values: Matrix, broken: NDArray[np.bool_] | None = None) -> tuple[tuple[str, str], ...]:
    """The marks that a heat map of these cells uses beside its colours, with their meaning."""
    empty = np.isnan(values) if broken is None else np.isnan(values) & ~broken
    hatched = (("hatched", "not a number (NaN or infinite)"),) if broken is not None and broken.any() else ()
    return hatched + ((("unmeasured", "not measured"),) if empty.any() else ())
