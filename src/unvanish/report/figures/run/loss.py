"""The loss over the steps: one line an objective, a mark where it stops being a number."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from unvanish.record.run import Run
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.views.shown_rows import evenly
from unvanish.report.wording import numbers

POINTS = 1000  # about as many as a screen has pixels across
LOG10_RANGE = 1.5  # a loss that spans more decades than this is drawn on a logarithmic axis
TABLE_ROWS = 20
HARDLY = 0.05  # a change by less than this share of the start is said to be hardly any; our choice of words, no verdict
END_SHARE = 0.1  # the end of a run is its last tenth, as in a race


def loss_picture(run: Run) -> Picture | None:
    """The loss of every objective, or None where no loss was recorded."""
    curves = [(steps, values) for steps, values in map(run.objective, range(run.losses.shape[1])) if np.isfinite(values).any()]
    if not curves:
        return None
    names = _names(run, len(curves))
    finite = np.concatenate([values[np.isfinite(values)] for _, values in curves])
    logarithmic = bool(finite.min() > 0 and np.log10(finite.max()) - np.log10(finite.min()) > LOG10_RANGE)
    figure = canvas(
        260 if len(curves) == 1 else 300,
        x={"title": titled("step"), "showgrid": False, "tickformat": ",d", "range": _range(run)},
        y={
            "title": titled("loss (log axis)" if logarithmic else "loss"),
            "type": "log" if logarithmic else "linear",
            "exponentformat": "power",
        },
        showlegend=len(curves) > 1,
        legend={"orientation": "h", "y": -0.25, "x": 0},
    )
    for index, ((steps, values), name) in enumerate(zip(curves, names, strict=True)):
        _add_curve(figure, index, steps, values=values, name=name)
    stride = -(-len(run.steps) // POINTS)
    title = _title(*curves[0])
    return Picture(
        name="loss",
        title=title,
        caption="The quantity that training tries to make small."
        + (f" Each point is the mean of {stride} steps." if stride > 1 else ""),
        alternative=f"Line chart of the loss over {numbers.plural(len(run.steps), 'step')}. {title}.",
        figure=figure,
        table=_table(run, names),
    )


def _add_curve(figure: go.Figure, index: int, steps: NDArray[np.int64], *, values: NDArray[np.float64], name: str) -> None:
    x, y = _thinned(steps, values)
    style = {"color": CATEGORIES[index % len(CATEGORIES)], "dash": DASHES[index % len(DASHES)], "width": 2}
    figure.add_trace(
        go.Scatter(x=x, y=y, mode="lines", name=name, line=style, hovertemplate="step %{x:,}: %{y:.4g}<extra></extra>")
    )
    broken = steps[np.isinf(values)]
    if broken.size:
        mark = {"text": f" not a number from step {broken[0]:,}", "xanchor": "left"}
        figure.add_vline(x=int(broken[0]), line={"color": QUIET, "dash": "dot"}, annotation=mark)


def ends(values: NDArray[np.float64]) -> tuple[float, float]:
    """The first loss and the mean of the last tenth; NaN where there is none, infinite where one of them was not a number."""
    if not values.size:
        return float("nan"), float("nan")
    last = values[-max(1, round(len(values) * END_SHARE)) :]
    return float(values[0]), float(last.mean()) if np.isfinite(last).all() else float("inf")


def _title(steps: NDArray[np.int64], values: NDArray[np.float64]) -> str:
    if np.isinf(values).any():
        return f"From step {steps[np.isinf(values)][0]:,} on the loss is not a number"
    first, last = ends(values)
    if numbers.figure(first) == numbers.figure(last):
        return f"The loss ends where it began, at {numbers.figure(last)}"
    course = f"from {numbers.figure(first)} to {numbers.figure(last)} in {numbers.plural(int(steps[-1]), 'step')}"
    if abs(last - first) < HARDLY * abs(first):
        return f"The loss hardly moves: {course}"
    return f"The loss {'falls' if last < first else 'rises'} {course}"


def _names(run: Run, number: int) -> list[str]:
    kinds = {group.optimizer: group.class_name for group in run.anatomy.groups}
    return [f"objective {i + 1}" + (f" ({kinds[i]})" if i in kinds else "") for i in range(number)]


def _range(run: Run) -> list[float]:
    """All steps, or as many after the last finite loss as there were before it."""
    finite = np.flatnonzero(np.isfinite(run.losses).any(axis=1))
    last = min(len(run.steps) - 1, 2 * int(finite[-1]) + 3)
    return [float(run.steps[0]) - 0.5, float(run.steps[last]) + 0.5]


def _thinned(steps: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[list[float], list[float | None]]:
    stride = max(1, -(-len(steps) // POINTS))
    xs: list[float] = []
    ys: list[float | None] = []
    for start in range(0, len(steps), stride):
        part = values[start : start + stride]
        known = part[np.isfinite(part)]
        xs.append(float(steps[start : start + stride].mean()))
        ys.append(float(known.mean()) if known.size else None)
    return xs, ys


def _table(run: Run, names: list[str]) -> Table:
    chosen = evenly(list(range(len(run.steps))), TABLE_ROWS)
    rows = tuple((f"{run.steps[i]:,}", *(_cell(float(run.losses[i, k])) for k in range(len(names)))) for i in chosen)
    note = "" if len(chosen) == len(run.steps) else f"{len(chosen)} of {len(run.steps):,} steps; the run's file has all."
    return Table(("step", *(names if len(names) > 1 else ["loss"])), rows, note)


def _cell(loss: float) -> str:
    if np.isnan(loss):
        return "none"
    return "not a number" if np.isinf(loss) else numbers.figure(loss, 4)
