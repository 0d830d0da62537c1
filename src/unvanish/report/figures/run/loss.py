"""Builds the line chart of the loss over the steps, one line for each objective, with a mark where it stops being a number."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from unvanish.record.run import Run
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.views.row_selection import sample_evenly
from unvanish.report.wording import numbers

MAX_POINTS = 1000  # about as many as a screen has pixels across
LOG10_RANGE = 1.5  # a loss that spans more decades than this is drawn on a logarithmic axis
MAX_TABLE_ROWS = 20
NEGLIGIBLE_SHARE = 0.05  # of the first loss: a smaller change is described as hardly any; our choice of words, no verdict
END_SHARE = 0.1  # the end of a run is its last tenth, as in a race


def build_loss_picture(run: Run) -> Picture | None:
    """The loss of every objective, or None where no loss was recorded."""
    curves = [(steps, values) for steps, values in map(run.objective, range(run.losses.shape[1])) if np.isfinite(values).any()]
    if not curves:
        return None
    names = _names(run, len(curves))
    finite = np.concatenate([values[np.isfinite(values)] for _, values in curves])
    logarithmic = bool(finite.min() > 0 and np.log10(finite.max()) - np.log10(finite.min()) > LOG10_RANGE)
    figure = build_empty_figure(
        260 if len(curves) == 1 else 300,
        x={"title": build_axis_title("step"), "showgrid": False, "tickformat": ",d", "range": _range(run)},
        y={
            "title": build_axis_title("loss (log axis)" if logarithmic else "loss"),
            "type": "log" if logarithmic else "linear",
            "exponentformat": "power",
        },
        showlegend=len(curves) > 1,
        legend={"orientation": "h", "y": -0.25, "x": 0},
    )
    for index, ((steps, values), name) in enumerate(zip(curves, names, strict=True)):
        _add_curve(figure, index, steps, values=values, name=name)
    stride = -(-len(run.steps) // MAX_POINTS)
    title = _title(*curves[0])
    return Picture(
        name="loss",
        title=title,
        caption="The quantity that training tries to make small."
        + (f" Each point is the mean of {stride} steps." if stride > 1 else ""),
        text_alternative=f"Line chart of the loss over {numbers.pluralise(len(run.steps), 'step')}. {title}.",
        figure=figure,
        table=_table(run, names),
    )


def _add_curve(figure: go.Figure, index: int, steps: NDArray[np.int64], *, values: NDArray[np.float64], name: str) -> None:
    x, y = _average_blocks(steps, values)
    style = {"color": CATEGORIES[index % len(CATEGORIES)], "dash": DASHES[index % len(DASHES)], "width": 2}
    figure.add_trace(
        go.Scatter(x=x, y=y, mode="lines", name=name, line=style, hovertemplate="step %{x:,}: %{y:.4g}<extra></extra>")
    )
    nonfinite_steps = steps[np.isinf(values)]
    if nonfinite_steps.size:
        mark = {"text": f" not a number from step {nonfinite_steps[0]:,}", "xanchor": "left"}
        figure.add_vline(x=int(nonfinite_steps[0]), line={"color": QUIET, "dash": "dot"}, annotation=mark)


def compute_first_and_last(values: NDArray[np.float64]) -> tuple[float, float]:
    """The first loss and the mean of the last tenth; NaN where there is none, infinite where one of the last was not a number.

    Arguments:
        values: the loss of every step, shape (steps,).
    """
    if not values.size:
        return float("nan"), float("nan")
    last = values[-max(1, round(len(values) * END_SHARE)) :]
    return float(values[0]), float(last.mean()) if np.isfinite(last).all() else float("inf")


def _title(steps: NDArray[np.int64], values: NDArray[np.float64]) -> str:
    if np.isinf(values).any():
        return f"From step {steps[np.isinf(values)][0]:,} on the loss is not a number"
    first, last = compute_first_and_last(values)
    if numbers.format_number(first) == numbers.format_number(last):
        return f"The loss ends where it began, at {numbers.format_number(last)}"
    change = f"from {numbers.format_number(first)} to {numbers.format_number(last)} in {numbers.pluralise(int(steps[-1]), 'step')}"
    if abs(last - first) < NEGLIGIBLE_SHARE * abs(first):
        return f"The loss hardly moves: {change}"
    return f"The loss {'falls' if last < first else 'rises'} {change}"


def _names(run: Run, number: int) -> list[str]:
    kinds = {group.optimizer: group.class_name for group in run.structure.groups}
    return [f"objective {i + 1}" + (f" ({kinds[i]})" if i in kinds else "") for i in range(number)]


def _range(run: Run) -> list[float]:
    """The axis: all steps, or as many after the last finite loss as there were before it."""
    finite = np.flatnonzero(np.isfinite(run.losses).any(axis=1))
    last = min(len(run.steps) - 1, 2 * int(finite[-1]) + 3)
    return [float(run.steps[0]) - 0.5, float(run.steps[last]) + 0.5]


def _average_blocks(steps: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[list[float], list[float | None]]:
    """Step and loss averaged over blocks of steps, so that at most MAX_POINTS are left; None for a block without a finite loss."""
    stride = max(1, -(-len(steps) // MAX_POINTS))
    xs: list[float] = []
    ys: list[float | None] = []
    for start in range(0, len(steps), stride):
        block = values[start : start + stride]
        finite = block[np.isfinite(block)]
        xs.append(float(steps[start : start + stride].mean()))
        ys.append(float(finite.mean()) if finite.size else None)
    return xs, ys


def _table(run: Run, names: list[str]) -> Table:
    selected = sample_evenly(list(range(len(run.steps))), MAX_TABLE_ROWS)
    rows = tuple((f"{run.steps[i]:,}", *(_format_cell(float(run.losses[i, k])) for k in range(len(names)))) for i in selected)
    note = "" if len(selected) == len(run.steps) else f"{len(selected)} of {len(run.steps):,} steps; the run's file has all."
    return Table(("step", *(names if len(names) > 1 else ["loss"])), rows, note)


def _format_cell(loss: float) -> str:
    if np.isnan(loss):
        return "none"
    return "not a number" if np.isinf(loss) else numbers.format_number(loss, 4)
