"""The picture of the gradient: depth by step, in decades against the site nearest the loss, with the sick region framed."""

from __future__ import annotations

import math

import numpy as np

from unvanish.record.finding import Finding
from unvanish.record.run import Run
from unvanish.report.figures import heatmap
from unvanish.report.figures.palette import DIVERGING
from unvanish.report.figures.picture import Picture
from unvanish.report.views.gradient_by_depth import Gradient, gradient
from unvanish.report.views.shown_rows import Columns, columns, shown_note
from unvanish.report.wording import numbers

FLAT = 0.5  # decades that nobody would call a loss: the gradient of the first and last layer differ by less than threefold
ROUGH = 2.0  # from here on a tenth of a decade is idle precision in a headline


def gradient_picture(run: Run, root: Finding | None = None) -> Picture | None:
    """The gradient at every site and sampled step, or None where it was measured at fewer than two sites.

    The sites of `root` are framed, where there is one.
    """
    found = gradient(run)
    if found is None:
        return None
    across = columns(run, ~np.isnan(found.log10_rms))
    cells = heatmap.Cells(found.rows, across, found.relative[across.positions], found.broken[across.positions], _say)
    marked = found.rows.rows_of(root.sites) if root is not None and root.severity.loud else []
    label = root.code.replace("-", " ") if root is not None and marked else ""
    scale = heatmap.symmetric(cells.values, DIVERGING, "log10 RMS, over the site nearest the loss")
    return Picture(
        name="gradient",
        title=title(found, run),
        caption=_caption(run, found, across, framed=label),
        alternative=_alternative(found, across),
        figure=heatmap.heatmap(cells, scale, frames=heatmap.frames(marked, label)),
        table=heatmap.table(cells),
        keys=heatmap.keys(cells),
    )


def title(found: Gradient, run: Run) -> str:
    """What the picture shows, in one sentence."""
    if found.broken.any():
        first = int(run.sampled[np.flatnonzero(found.broken.any(axis=1))[0]])
        return f"From step {first:,} on the gradient is not a number" if first > 1 else "The gradient is not a number"
    change = found.change()
    if math.isnan(change):
        return "No gradient arrives at the site nearest the loss"
    if change == -math.inf:
        return "Nothing of the gradient arrives at the first layer"
    if abs(change) < FLAT:
        return "The gradient reaches the first layer about as large as it left the loss"
    size = numbers.decades(abs(change), signed=False) if abs(change) < ROUGH else f"about {abs(change):.0f}"
    return f"The gradient {'loses' if change < 0 else 'grows by'} {size} decades on its way to the first layer"


def _say(value: float) -> str:
    if math.isnan(value):
        return "not measured"
    return "exactly zero" if value == -math.inf else numbers.decades(value)


def _caption(run: Run, found: Gradient, across: Columns, *, framed: str) -> str:
    sentences = [f"Each row is a site of the network, each column one of the {numbers.plural(len(run.sampled), 'sampled step')}."]
    if found.change() > FLAT:
        sentences.append("White is unchanged; the deeper the orange, the more it has grown.")
    else:
        sentences.append("White arrives in full; the deeper the blue, the less arrives.")
    if framed:
        sentences.append(f"Framed: the sites of the finding “{framed}”.")
    return " ".join(sentences) + shown_note(found.rows, across)


def _alternative(found: Gradient, across: Columns) -> str:
    profile = found.profile()
    stops = np.unique(np.linspace(0, len(profile) - 1, 5).round().astype(int))[::-1]
    said = ", ".join(f"{found.rows.labels[i]} {_say(float(profile[i]))}" for i in stops)
    return (
        f"Heat map of the gradient: {len(profile)} sites from the loss at the top to the input at the bottom, "
        f"{numbers.plural(len(across.steps), 'sampled step')} from {across.steps[0]:,} to {across.steps[-1]:,}. "
        f"Decades against the site nearest the loss, median of the steps: {said}."
    )
