"""How far each step moves the weights, against their own size: one line a weight matrix, with the usual band marked."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from unvanish.record.run import Matrix, Run
from unvanish.report.figures.palette import CATEGORIES, DASHES
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.views.shown_rows import Columns, columns, evenly, measured, over_steps
from unvanish.report.wording.places import shortened

USUAL = -3.0  # A. Karpathy, CS231n notes, "Ratio of weights:updates": "this ratio should be somewhere around 1e-3"
BAND = 1.0  # decades to either side that we shade; the notes give no width, so this one is ours
CAPTION = (
    "RMS of one step's change to a weight matrix, over the RMS of the matrix. Shaded: the usual range (CS231n notes, A. Karpathy, "
    "“Ratio of weights:updates”: around one thousandth; the width of the band is ours)."
)


def update_picture(run: Run) -> Picture | None:
    """log10 of update RMS over weight RMS for up to six weights and every sampled step; None where nothing was measured."""
    moved = measured(run, "log10_update_rms")
    size = measured(run, "log10_weight_rms")
    if not moved.size or moved.shape != size.shape:
        return None
    ratio = np.where(np.isfinite(size) & (moved < np.inf), moved - np.where(np.isfinite(size), size, 0), np.nan)
    matrices = [
        i for i, p in enumerate(run.anatomy.parameters[: ratio.shape[1]]) if len(p.shape) > 1 and not np.isnan(ratio[:, i]).all()
    ]
    if not matrices:
        return None
    across = columns(run, ~np.isnan(ratio[:, matrices]))
    shown = evenly(matrices, len(CATEGORIES))
    values = ratio[across.positions]
    title = _title(over_steps(ratio[:, matrices]), len(matrices))
    chosen = "" if len(shown) == len(matrices) else f" Shown: {len(shown)} of {len(matrices)} weight matrices, evenly chosen."
    return Picture(
        name="updates",
        title=title,
        caption=f"{CAPTION}{chosen}",
        alternative=f"Line chart of update over weight for {len(shown)} of {len(matrices)} weight matrices. {title}.",
        figure=_figure(run, across, values, shown),
        table=_table(run, across, values, matrices),
    )


def _figure(run: Run, across: Columns, values: Matrix, shown: list[int]) -> go.Figure:
    figure = canvas(
        330,
        x={"title": titled("step"), "showgrid": False, "tickformat": ",d"},
        y={"title": titled("log10 of update over weight"), **_whole_decades(values[:, shown])},
        showlegend=True,
        legend={"orientation": "h", "y": -0.22, "x": 0, "yanchor": "top", "font": {"size": 12}},
    )
    figure.add_hrect(y0=USUAL - BAND, y1=USUAL + BAND, fillcolor="rgba(0,158,115,0.13)", line_width=0, layer="below")
    for index, parameter in enumerate(shown):
        line = [None if not math.isfinite(v) else float(v) for v in values[:, parameter]]
        figure.add_trace(
            go.Scatter(
                x=across.steps.tolist(),
                y=line,
                mode="lines+markers" if len(across.steps) < 20 else "lines",
                name=shortened(run.anatomy.parameter_label(parameter), 24),
                line={"color": CATEGORIES[index], "dash": DASHES[index], "width": 2},
                hovertemplate="%{fullData.name}, step %{x:,}: %{y:.1f}<extra></extra>",
            )
        )
    return figure


def _whole_decades(values: Matrix) -> dict[str, int]:
    finite = values[np.isfinite(values)]
    return {"dtick": 1} if finite.size and np.ptp(finite) < 9 else {}


def _title(middle: NDArray[np.float64], total: int) -> str:
    slow = int((middle < USUAL - BAND).sum())
    fast = int((middle > USUAL + BAND).sum())
    if not slow and not fast:
        return "Every step moves the weights by about a thousandth of their size, as is usual"
    slowly, fast_too = "less than a ten-thousandth of their size", "more than a hundredth"
    if not fast:
        return f"{slow} of {total} weight matrices move {slowly} a step"
    if not slow:
        return f"{fast} of {total} weight matrices move {fast_too} of their size a step"
    return f"Of {total} weight matrices, {slow} move {slowly} a step, {fast} {fast_too}"


def _table(run: Run, across: Columns, values: Matrix, matrices: list[int]) -> Table:
    chosen = evenly(list(range(len(across.steps))), 10)
    rows = evenly(matrices, 60)
    lines = tuple((run.anatomy.parameter_label(p), *(_say(float(values[c, p])) for c in chosen)) for p in rows)
    note = (
        ""
        if len(chosen) == len(across.steps) and rows == matrices
        else f"{len(chosen)} steps and {len(rows)} weights; the run's file has all."
    )
    return Table(("weight", *(f"step {across.steps[c]:,}" for c in chosen)), lines, note)


def _say(value: float) -> str:
    if math.isnan(value):
        return "not measured"
    return "no change" if value == -math.inf else f"{value:.1f}"
