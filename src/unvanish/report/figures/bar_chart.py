"""Colours, hatching and axes that the horizontal bar charts share: labels on the left, values on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from unvanish.report.figures.palette import DIVERGING, INK

# The pattern of bars without a finite number, in every picture.
HATCHING: Mapping[str, Any] = MappingProxyType({"shape": "/", "bgcolor": "#ffffff", "fgcolor": INK, "size": 7, "solidity": 0.25})
AXIS_MARGIN = 0.02  # of the axis' length, kept free at both ends


def choose_colour(decades: float, full_scale: float) -> str:
    """The colour of a bar as "rgb(...)": blue for a loss, orange for a gain, darkest from `full_scale` decades on."""
    stops = [stop for _, stop in DIVERGING]
    pale, dark = (stops[2], stops[1]) if decades < 0 else (stops[4], stops[5])
    share = min(1.0, abs(decades) / full_scale) if full_scale else 0.0
    mixed = [round((1 - share) * int(pale[i : i + 2], 16) + share * int(dark[i : i + 2], 16)) for i in (1, 3, 5)]
    return f"rgb({mixed[0]},{mixed[1]},{mixed[2]})"


def build_row_axis(texts: Sequence[str]) -> dict[str, Any]:
    """A vertical axis with one row for each text, the first at the top."""
    return {
        "tickvals": list(range(len(texts)))[::-1],
        "ticktext": list(texts),
        "range": [-0.6, len(texts) - 0.4],
        "showgrid": False,
    }


def build_value_axis(texts: Sequence[str]) -> dict[str, Any]:
    """The second vertical axis, a column of values at the right edge that no narrow screen cuts off.

    Plotly draws it where a trace has yaxis "y2".
    """
    hidden_line = {"fixedrange": True, "zeroline": False, "automargin": True, "ticks": "", "linecolor": "rgba(0,0,0,0)"}
    return {**hidden_line, **build_row_axis(texts), "overlaying": "y", "side": "right"}
