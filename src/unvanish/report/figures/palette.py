"""The colours of the figures, each with one meaning; the page's colours for text and background are in page.css."""

from __future__ import annotations

# log10 of a ratio: blue towards vanishing, orange towards exploding, white at 0.
DIVERGING: tuple[tuple[float, str], ...] = (
    (0.0, "#00366b"),
    (0.2, "#1f68a8"),
    (0.35, "#82b1d6"),
    (0.5, "#ffffff"),
    (0.65, "#f3b37a"),
    (0.8, "#d5700f"),
    (1.0, "#7d3500"),
)
# A share, 0 to 1: white is none.
SHARE: tuple[tuple[float, str], ...] = ((0.0, "#ffffff"), (0.5, "#c09ac4"), (1.0, "#5b2a6b"))
# Okabe and Ito (2008), without yellow and black, which cannot be seen on a light or on a dark page.
CATEGORIES: tuple[str, ...] = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: tuple[str, ...] = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

CURED = "#009e73"
BETTER = "#56b4e9"
NO_BETTER = "#8a8f98"
WORSE = "#d55e00"

UNMEASURED = "rgba(128,128,128,0.32)"
INK = "#1d2329"  # the page overrides it for its dark side
QUIET = "#5c6670"
