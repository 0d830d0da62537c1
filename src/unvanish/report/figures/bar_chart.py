"""How horizontal bars are drawn: coloured by decades, hatched without a number, a label on their left, a figure on their right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from unvanish.report.figures.palette import DIVERGING, INK

# What is not a finite number is hatched, everywhere.
HATCHED: Mapping[str, Any] = MappingProxyType({"shape": "/", "bgcolor": "#ffffff", "fgcolor": INK, "size": 7, "solidity": 0.25})
MARGIN = 0.02  # of the axis, kept free at both ends


def colour(decades: float, reach: float) -> str:
    """The bar's colour on the diverging rule, "rgb(...)": blue for a loss, orange for a gain, deeper towards `reach` decades."""
    stops = [stop for _, stop in DIVERGING]
    pale, deep = (stops[2], stops[1]) if decades < 0 else (stops[4], stops[5])
    share = min(1.0, abs(decades) / reach) if reach else 0.0
    mixed = [round((1 - share) * int(pale[i : i + 2], 16) + share * int(deep[i : i + 2], 16)) for i in (1, 3, 5)]
    return f"rgb({mixed[0]},{mixed[1]},{mixed[2]})"


def labels(texts: Sequence[str]) -> dict[str, Any]:
    """A vertical axis with one row a text, the first at the top."""
    return {
        "tickvals": list(range(len(texts)))[::-1],
        "ticktext": list(texts),
        "range": [-0.6, len(texts) - 0.4],
        "showgrid": False,
    }


def figures_beside(texts: Sequence[str]) -> dict[str, Any]:
    """The second vertical axis, a column of figures at the right edge: never cut off, however narrow the screen.

    It is drawn once a trace stands on "y2".
    """
    quiet = {"fixedrange": True, "zeroline": False, "automargin": True, "ticks": "", "linecolor": "rgba(0,0,0,0)"}
    return {**quiet, **labels(texts), "overlaying": "y", "side": "right"}
