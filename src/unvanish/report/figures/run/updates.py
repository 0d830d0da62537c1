"""Builds the line chart of update RMS over weight RMS, one line for each weight matrix, with the usual range shaded."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from unvanish.record.run import Matrix, Run
from unvanish.report.figures.palette import CATEGORIES, DASHES
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.views.row_selection import StepColumns, get_readings, reduce_over_steps, sample_evenly, select_columns
from unvanish.report.wording.locations import shorten_label

USUAL_LOG10_RATIO = -3.0  # A. Karpathy, CS231n notes, "Ratio of weights:updates": "this ratio should be somewhere around 1e-3"
BAND_DECADES = 1.0  # shaded to either side; the notes give no width, so this one is ours
CAPTION = (
    "RMS of one step's change to a weight matrix, over the RMS of the matrix. Shaded: the usual range (CS231n notes, A. Karpathy, "
    "“Ratio of weights:updates”: around one thousandth; the width of the band is ours)."
)


def build_update_picture(run: Run) -> Picture | None:
    """log10 of update RMS over weight RMS for up to six weights and every sampled step; None where nothing was measured."""
    update = get_readings(run, "log10_update_rms")
    weight = get_readings(run, "log10_weight_rms")
    if not update.size or update.shape != weight.shape:
        return None
    ratio = np.where(np.isfinite(weight) & (update < np.inf), update - np.where(np.isfinite(weight), weight, 0), np.nan)
    matrices = [
        i for i, p in enumerate(run.structure.parameters[: ratio.shape[1]]) if len(p.shape) > 1 and not np.isnan(ratio[:, i]).all()
    ]
    if not matrices:
        return None
    columns = select_columns(run, ~np.isnan(ratio[:, matrices]))
    shown = sample_evenly(matrices, len(CATEGORIES))
    values = ratio[columns.indices]
    title = _title(reduce_over_steps(ratio[:, matrices]), len(matrices))
    selection_note = (
        "" if len(shown) == len(matrices) else f" Shown: {len(shown)} of {len(matrices)} weight matrices, evenly chosen."
    )
    return Picture(
        name="updates",
        title=title,
        caption=f"{CAPTION}{selection_note}",
        text_alternative=f"Line chart of update over weight for {len(shown)} of {len(matrices)} weight matrices. {title}.",
        figure=_figure(run, columns, values, shown),
        table=_table(run, columns, values, matrices),
    )


def _figure(run: Run, columns: StepColumns, values: Matrix, shown: list[int]) -> go.Figure:
    figure = build_empty_figure(
        330,
        x={"title": build_axis_title("step"), "showgrid": False, "tickformat": ",d"},
        y={"title": build_axis_title("log10 of update over weight"), **_tick_spacing(values[:, shown])},
        showlegend=True,
        legend={"orientation": "h", "y": -0.22, "x": 0, "yanchor": "top", "font": {"size": 12}},
    )
    figure.add_hrect(
        y0=USUAL_LOG10_RATIO - BAND_DECADES,
        y1=USUAL_LOG10_RATIO + BAND_DECADES,
        fillcolor="rgba(0,158,115,0.13)",
        line_width=0,
        layer="below",
    )
    for index, parameter in enumerate(shown):
        ratios = [None if not math.isfinite(v) else float(v) for v in values[:, parameter]]
        figure.add_trace(
            go.Scatter(
                x=columns.steps.tolist(),
                y=ratios,
                mode="lines+markers" if len(columns.steps) < 20 else "lines",
                name=shorten_label(run.structure.parameter_label(parameter), 24),
                line={"color": CATEGORIES[index], "dash": DASHES[index], "width": 2},
                hovertemplate="%{fullData.name}, step %{x:,}: %{y:.1f}<extra></extra>",
            )
        )
    return figure


def _tick_spacing(values: Matrix) -> dict[str, int]:
    finite = values[np.isfinite(values)]
    return {"dtick": 1} if finite.size and np.ptp(finite) < 9 else {}


def _title(medians: NDArray[np.float64], total: int) -> str:
    slow = int((medians < USUAL_LOG10_RATIO - BAND_DECADES).sum())
    fast = int((medians > USUAL_LOG10_RATIO + BAND_DECADES).sum())
    if not slow and not fast:
        return "Every step moves the weights by about a thousandth of their size, as is usual"
    slow_words, fast_words = "less than a ten-thousandth of their size", "more than a hundredth"
    if not fast:
        return f"{slow} of {total} weight matrices move {slow_words} a step"
    if not slow:
        return f"{fast} of {total} weight matrices move {fast_words} of their size a step"
    return f"Of {total} weight matrices, {slow} move {slow_words} a step, {fast} {fast_words}"


def _table(run: Run, columns: StepColumns, values: Matrix, matrices: list[int]) -> Table:
    selected = sample_evenly(list(range(len(columns.steps))), 10)
    rows = sample_evenly(matrices, 60)
    cells = tuple((run.structure.parameter_label(p), *(_format_ratio(float(values[c, p])) for c in selected)) for p in rows)
    note = (
        ""
        if len(selected) == len(columns.steps) and rows == matrices
        else f"{len(selected)} steps and {len(rows)} weights; the run's file has all."
    )
    return Table(("weight", *(f"step {columns.steps[c]:,}" for c in selected)), cells, note)


def _format_ratio(value: float) -> str:
    if math.isnan(value):
        return "not measured"
    return "no change" if value == -math.inf else f"{value:.1f}"
