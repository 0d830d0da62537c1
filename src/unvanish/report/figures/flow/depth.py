"""Builds the chart of the gradient's size at every layer from the input to the output, measured and predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.theory_prediction import Prediction
from unvanish.report.figures.bar_chart import HATCHING
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.figures.run.gradient import NEGLIGIBLE_DECADES
from unvanish.report.views import flow_terms
from unvanish.report.views.flow_terms import format_signed_decades
from unvanish.report.views.row_selection import sample_evenly
from unvanish.report.wording import numbers
from unvanish.report.wording.locations import shorten_label

KINDS = ("weight", "activation", "normalisation")
MIN_POINTS = 3  # two points show no trend
MAX_POINTS = 2000  # more than a screen has pixels across
MAX_MARKERS = 80  # points that can still be told apart
MAX_TICKS = 5
SUMMARY_POINTS = 5  # in the text alternative
LABEL_WIDTH = 14  # characters
MAX_TABLE_ROWS = 100


@dataclass(frozen=True, slots=True)
class DepthPoint:
    """The gradient's RMS at the output of one operation, in decades over that at the network's output; depth 0 is the input."""

    depth: int
    label: str
    kind: str
    measured: float
    theory: float | None = None


def build_depth_picture(flow: GradientFlow, prediction: Prediction | None = None) -> Picture | None:
    """The gradient by depth, with theory's curve where it has a number; None where it was measured at fewer than three places."""
    points = _add_theory(_points(flow), prediction)
    if len(points) < MIN_POINTS or not math.isfinite(flow.log10_source_rms):
        return None
    has_nonfinite = any(not math.isfinite(point.measured) for point in points)
    return Picture(
        name="depth",
        title=_title(flow, points, prediction),
        caption=_caption(prediction),
        text_alternative=_alternative(points),
        figure=_figure(points),
        table=_table(points),
        legend=(("hatched", "exactly zero, or not a number"),) if has_nonfinite else (),
    )


def _points(flow: GradientFlow) -> list[DepthPoint]:
    start = [] if flow_terms.ends_at_parameter(flow) else [DepthPoint(0, "input", "input", flow.total)]
    layers = [op for op in sorted(flow.ops, key=lambda op: op.order) if op.kind in KINDS and not math.isnan(op.log10_gradient_out)]
    return start + [
        DepthPoint(depth, op.label, op.kind, op.log10_gradient_out - flow.log10_source_rms)
        for depth, op in enumerate(layers, start=1)
    ]


def _add_theory(points: list[DepthPoint], prediction: Prediction | None) -> list[DepthPoint]:
    """The points with the predicted gradient at the input of each layer of the theory.

    In theory a layer begins with its activation: its input is the output of the weights before it, or of their normalisation.
    """
    if prediction is None or prediction.decades is None:
        return points
    index_of = {point.label: index for index, point in enumerate(points)}
    layers = [layer for layer in prediction.layers if layer.label in index_of]
    inputs = [0, *(index_of[layer.label] for layer in layers)]
    theory: dict[int, float] = {}
    for index, layer in zip(inputs, layers, strict=False):
        theory[_after_normalisation(points, index)] = layer.log10_accumulated
    if layers:
        theory[_after_normalisation(points, inputs[-1])] = 0.0
    return [DepthPoint(p.depth, p.label, p.kind, p.measured, theory.get(index)) for index, p in enumerate(points)]


def _after_normalisation(points: list[DepthPoint], index: int) -> int:
    while index + 1 < len(points) and points[index].kind != "input" and points[index + 1].kind == "normalisation":
        index += 1
    return index


def _title(flow: GradientFlow, points: list[DepthPoint], prediction: Prediction | None) -> str:
    if prediction is not None and prediction.decades is not None and not flow_terms.ends_at_parameter(flow):
        measured = format_signed_decades(flow.total) if math.isinf(flow.total) else numbers.format_decades(flow.total)
        return f"Theory says {numbers.format_decades(prediction.decades)} decades from the output to the input, measured {measured}"
    first = points[0]
    if first.measured == -math.inf:
        reached = next((point for point in points if point.measured > -math.inf), None)
        return "No gradient reaches the input" + (f"; the last to get any is {_format_place(reached)}" if reached else "")
    finite = [point for point in points if math.isfinite(point.measured)]
    if len(finite) < len(points) or not finite:
        return "The gradient is not a number everywhere"
    extreme = max(finite, key=lambda point: abs(point.measured))
    if abs(extreme.measured) < NEGLIGIBLE_DECADES:
        return "The gradient is about equally large at every depth"
    word = "faintest" if extreme.measured < 0 else "largest"
    return (
        f"The gradient is {word} at {_format_place(extreme)}: {numbers.format_decades(extreme.measured)} decades against the output"
    )


def _format_place(point: DepthPoint) -> str:
    return f"the {point.label}" if not point.depth else flow_terms.format_label(point.label)


def _caption(prediction: Prediction | None) -> str:
    text = "RMS of the gradient at the output of every layer, activation and normalisation, over that at the network's output."
    if prediction is None:
        return text
    if prediction.decades is None:
        return f"{text} Theory gives no number here" + (f": {prediction.reason.rstrip('.')}." if prediction.reason else ".")
    return f"{text} Dashed: what mean-field theory says of such weights, from their variance alone and without data."


def _alternative(points: list[DepthPoint]) -> str:
    samples = sample_evenly(points, SUMMARY_POINTS)
    point_texts = ", ".join(
        f"{point.label} {_format_value(point.measured)}"
        + (f" (theory {_format_value(point.theory)})" if point.theory is not None else "")
        for point in samples
    )
    return f"Line chart of the gradient by depth, {len(points)} points from the input to the output, in decades: {point_texts}."


def _figure(points: list[DepthPoint]) -> go.Figure:
    finite = [v for p in points for v in (p.measured, p.theory) if v is not None and math.isfinite(v)] or [0.0]
    low, high = min(finite), max(finite)
    margin = max(0.06 * (high - low), 0.3)
    ticks = sample_evenly(points, MAX_TICKS)
    figure = build_empty_figure(
        360,
        x={
            "title": build_axis_title("depth, from the input to the output"),
            "showgrid": False,
            "tickvals": [point.depth for point in ticks],
            "ticktext": [shorten_label(point.label, LABEL_WIDTH) for point in ticks],
            "range": [points[0].depth - 0.02 * len(points), points[-1].depth + 0.02 * len(points)],
        },
        y={
            "title": build_axis_title("log10 RMS, over the output's"),
            "range": [low - margin, high + margin],
            "zeroline": True,
            "zerolinecolor": QUIET,
        },
        showlegend=any(point.theory is not None for point in points),
        legend={"orientation": "h", "y": 1.02, "x": 0, "yanchor": "bottom", "font": {"size": 12}},
        barmode="overlay",
        bargap=0,
    )
    _add_hatching(figure, points, low - margin, high + margin)
    shown = sample_evenly(points, MAX_POINTS)
    figure.add_trace(_build_measured_line(shown))
    predicted = [point for point in shown if point.theory is not None]
    if predicted:
        figure.add_trace(_build_theory_line(predicted))
    return figure


def _build_theory_line(points: list[DepthPoint]) -> go.Scatter:
    return go.Scatter(
        x=[point.depth for point in points],
        y=[point.theory for point in points],
        mode="lines",
        name="theory",
        line={"color": CATEGORIES[1], "dash": DASHES[1], "width": 2},
        text=[point.label for point in points],
        hovertemplate="%{text}: theory %{y:.2f}<extra></extra>",
    )


def _build_measured_line(points: list[DepthPoint]) -> go.Scatter:
    return go.Scatter(
        x=[point.depth for point in points],
        y=[point.measured if math.isfinite(point.measured) else None for point in points],
        mode="lines+markers" if len(points) <= MAX_MARKERS else "lines",
        name="measured",
        line={"color": CATEGORIES[0], "width": 2},
        marker={"size": 6},
        text=[f"{point.label} ({point.kind})" for point in points],
        hovertemplate="%{text}: %{y:.2f}<extra></extra>",
    )


def _add_hatching(figure: go.Figure, points: list[DepthPoint], low: float, high: float) -> None:
    """Adds one hatched bar for each unbroken stretch of depths without a finite value."""
    stretches: list[list[int]] = []
    for point in points:
        if math.isfinite(point.measured):
            continue
        if stretches and stretches[-1][-1] == point.depth - 1:
            stretches[-1].append(point.depth)
        else:
            stretches.append([point.depth])
    if stretches:
        figure.add_trace(
            go.Bar(
                x=[(depths[0] + depths[-1]) / 2 for depths in stretches],
                width=[depths[-1] - depths[0] + 1 for depths in stretches],
                y=[high - low for _ in stretches],
                base=low,
                marker={"line": {"width": 0}, "pattern": dict(HATCHING)},
                showlegend=False,
                hoverinfo="skip",
            )
        )


def _format_value(value: float | None) -> str:
    if value is None:
        return ""
    return "exactly zero" if value == -math.inf else format_signed_decades(value)


def _table(points: Sequence[DepthPoint]) -> Table:
    selected = sample_evenly(list(points), MAX_TABLE_ROWS)
    rows = tuple(
        (
            point.label,
            point.kind,
            _format_value(point.measured),
            _format_value(point.theory),
            format_signed_decades(point.measured - point.theory)
            if point.theory is not None and math.isfinite(point.measured)
            else "",
        )
        for point in selected
    )
    note = "" if len(selected) == len(points) else f"{len(selected)} of {len(points):,} places, evenly chosen."
    return Table(("at the output of", "kind", "measured", "theory", "measured less theory"), rows, note)
