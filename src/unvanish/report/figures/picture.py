"""What a picture is: a plotly figure, a title that states what it shows, a text alternative, and the numbers behind it.

The layout that all figures share is here too. No figure is drawn here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from unvanish.report.figures.palette import INK, QUIET

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers behind a picture, already in words: a head, rows as long as the head, and what was left out."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure with all that a reader needs who cannot see it, or who wants its numbers.

    `keys` are (swatch, meaning) pairs for the marks that the colour bar does not explain.
    """

    name: str
    title: str
    caption: str
    alternative: str
    figure: go.Figure
    table: Table
    keys: tuple[tuple[str, str], ...] = ()


def canvas(height: int, *, x: dict[str, Any], y: dict[str, Any], **layout: Any) -> go.Figure:
    """An empty figure in the house style: transparent, still, and as wide as its column. Height in pixels."""
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


def titled(text: str) -> dict[str, Any]:
    """An axis title as plotly wants it."""
    return {"text": text, "standoff": 8, "font": {"color": QUIET, "size": 12}}
