"""Defines a picture (a plotly figure with title, caption, text alternative and table) and the layout that all figures share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from unvanish.report.figures.palette import INK, QUIET

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers behind a picture as text: a header, rows as long as the header, and a note on what was left out."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure with a text alternative for readers who cannot see it, and a table of its numbers.

    `name` is unique on a page. `legend` has (swatch, meaning) pairs for marks that the colour bar does not explain.
    """

    name: str
    title: str
    caption: str
    text_alternative: str
    figure: go.Figure
    table: Table
    legend: tuple[tuple[str, str], ...] = ()


def build_empty_figure(height: int, *, x: dict[str, Any], y: dict[str, Any], **layout: Any) -> go.Figure:
    """An empty figure with the common layout: transparent, not draggable, as wide as its column. Height in pixels."""
    axis: dict[str, Any] = {
        "fixedrange": True,
        "zeroline": False,
        "automargin": True,
        "ticks": "",
        "linecolor": QUIET,
        "gridcolor": "rgba(128,128,128,0.25)",
        "title": {"standoff": 8},
    }
    return go.Figure(
        layout={
            "template": go.layout.Template(),
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 13, "color": INK},
            "hoverlabel": {"bgcolor": "#1d2329", "bordercolor": "#1d2329", "font": {"color": "#ffffff", "family": FONT}},
            "dragmode": False,
            "showlegend": False,
            "xaxis": axis | x,
            "yaxis": axis | y,
            **layout,
        }
    )


def build_axis_title(text: str) -> dict[str, Any]:
    """An axis title as plotly's layout takes it."""
    return {"text": text, "standoff": 8, "font": {"color": QUIET, "size": 12}}
