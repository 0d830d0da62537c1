"""Builds the heat map of the gradient over sites and steps, in decades against the site nearest the loss."""

from __future__ import annotations

import math

import numpy as np

from unvanish.record.finding import Finding
from unvanish.record.run import Run
from unvanish.report.figures import heatmap
from unvanish.report.figures.palette import DIVERGING
from unvanish.report.figures.picture import Picture
from unvanish.report.views.gradient_by_depth import GradientByDepth, compute_gradient_by_depth
from unvanish.report.views.row_selection import StepColumns, describe_selection, select_columns
from unvanish.report.wording import numbers

NEGLIGIBLE_DECADES = 0.5  # nobody would call this a loss: the gradients of the first and last layer differ by less than threefold
WHOLE_DECADES = 2.0  # from here on the title gives whole decades


def build_gradient_picture(run: Run, root: Finding | None = None) -> Picture | None:
    """The gradient at every site and sampled step, or None where it was measured at fewer than two sites.

    The sites of `root` are framed, where there is one.
    """
    gradient = compute_gradient_by_depth(run)
    if gradient is None:
        return None
    columns = select_columns(run, ~np.isnan(gradient.log10_rms))
    relative, nonfinite = gradient.relative[columns.indices], gradient.nonfinite[columns.indices]
    cells = heatmap.HeatmapCells(gradient.rows, columns, relative, nonfinite, _format_decades)
    framed_rows = gradient.rows.find_rows(root.sites) if root is not None and root.severity.loud else []
    label = root.code.replace("-", " ") if root is not None and framed_rows else ""
    scale = heatmap.build_symmetric_scale(cells.values, DIVERGING, "log10 RMS, over the site nearest the loss")
    return Picture(
        name="gradient",
        title=format_title(gradient, run),
        caption=_caption(run, gradient, columns, frame_label=label),
        text_alternative=_alternative(gradient, columns),
        figure=heatmap.draw_heatmap(cells, scale, frames=heatmap.build_frames(framed_rows, label)),
        table=heatmap.build_table(cells),
        legend=heatmap.build_legend(cells),
    )


def format_title(gradient: GradientByDepth, run: Run) -> str:
    """The picture's title: what happens to the gradient between the loss and the first layer."""
    if gradient.nonfinite.any():
        first_step = int(run.sampled[np.flatnonzero(gradient.nonfinite.any(axis=1))[0]])
        return f"From step {first_step:,} on the gradient is not a number" if first_step > 1 else "The gradient is not a number"
    change = gradient.total_change()
    if math.isnan(change):
        return "No gradient arrives at the site nearest the loss"
    if change == -math.inf:
        return "Nothing of the gradient arrives at the first layer"
    if abs(change) < NEGLIGIBLE_DECADES:
        return "The gradient reaches the first layer about as large as it left the loss"
    size = numbers.format_decades(abs(change), signed=False) if abs(change) < WHOLE_DECADES else f"about {abs(change):.0f}"
    return f"The gradient {'loses' if change < 0 else 'grows by'} {size} decades on its way to the first layer"


def _format_decades(value: float) -> str:
    if math.isnan(value):
        return "not measured"
    return "exactly zero" if value == -math.inf else numbers.format_decades(value)


def _caption(run: Run, gradient: GradientByDepth, columns: StepColumns, *, frame_label: str) -> str:
    sentences = [
        f"Each row is a site of the network, each column one of the {numbers.pluralise(len(run.sampled), 'sampled step')}."
    ]
    if gradient.total_change() > NEGLIGIBLE_DECADES:
        sentences.append("White is unchanged; the deeper the orange, the more it has grown.")
    else:
        sentences.append("White arrives in full; the deeper the blue, the less arrives.")
    if frame_label:
        sentences.append(f"Framed: the sites of the finding “{frame_label}”.")
    return " ".join(sentences) + describe_selection(gradient.rows, columns)


def _alternative(gradient: GradientByDepth, columns: StepColumns) -> str:
    profile = gradient.median_profile()
    samples = np.unique(np.linspace(0, len(profile) - 1, 5).round().astype(int))[::-1]
    values = ", ".join(f"{gradient.rows.labels[i]} {_format_decades(float(profile[i]))}" for i in samples)
    return (
        f"Heat map of the gradient: {len(profile)} sites from the loss at the top to the input at the bottom, "
        f"{numbers.pluralise(len(columns.steps), 'sampled step')} from {columns.steps[0]:,} to {columns.steps[-1]:,}. "
        f"Decades against the site nearest the loss, median of the steps: {values}."
    )
