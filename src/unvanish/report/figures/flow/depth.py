"""The gradient's size at every layer from the input to the output, with theory's forecast over what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from unvanish.record.flow import GradientFlow
from unvanish.record.prediction import Prediction
from unvanish.report.figures.bar_chart import HATCHED
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.figures.run.gradient import FLAT
from unvanish.report.views import flow_terms
from unvanish.report.views.flow_terms import said
from unvanish.report.views.shown_rows import evenly
from unvanish.report.wording import numbers
from unvanish.report.wording.places import shortened

KINDS = ("weight", "activation", "normalisation")
FEWEST = 3  # two points are no course
POINTS = 2000  # more than a screen has pixels across
DOTS = 80  # points that can still be told apart
TICKS = 5
LABEL = 14
TABLE_ROWS = 100


@dataclass(frozen=True, slots=True)
class Point:
    """The gradient at the output of one operation, in decades over the network's output; `depth` counts from the input, 0."""

    depth: int
    label: str
    kind: str
    measured: float
    theory: float | None = None


def depth_picture(flow: GradientFlow, prediction: Prediction | None = None) -> Picture | None:
    """The gradient by depth, or None where it was measured at fewer than three places. Theory's curve where it gives a number."""
    points = _with_theory(_points(flow), prediction)
    if len(points) < FEWEST or not math.isfinite(flow.log10_source_rms):
        return None
    broken = [point for point in points if not math.isfinite(point.measured)]
    return Picture(
        name="depth",
        title=_title(flow, points, prediction),
        caption=_caption(prediction),
        alternative=_alternative(points),
        figure=_figure(points),
        table=_table(points),
        keys=(("hatched", "exactly zero, or not a number"),) if broken else (),
    )


def _points(flow: GradientFlow) -> list[Point]:
    found = [] if flow_terms.to_parameter(flow) else [Point(0, "input", "input", flow.total)]
    layers = [op for op in sorted(flow.ops, key=lambda op: op.order) if op.kind in KINDS and not math.isnan(op.log10_gradient_out)]
    return found + [
        Point(depth, op.label, op.kind, op.log10_gradient_out - flow.log10_source_rms) for depth, op in enumerate(layers, start=1)
    ]


def _with_theory(points: list[Point], prediction: Prediction | None) -> list[Point]:
    """The points with theory's figure for the gradient that enters each of its layers.

    A layer begins with its activation: its input is the output of the weights before it, or of their normalisation.
    """
    if prediction is None or prediction.decades is None:
        return points
    place = {point.label: index for index, point in enumerate(points)}
    before = [0, *(place[layer.label] for layer in prediction.layers if layer.label in place)]
    layers = [layer for layer in prediction.layers if layer.label in place]
    theory: dict[int, float] = {}
    for start, layer in zip(before, layers, strict=False):
        theory[_after_normalisation(points, start)] = layer.log10_accumulated
    if layers:
        theory[_after_normalisation(points, before[-1])] = 0.0
    return [Point(p.depth, p.label, p.kind, p.measured, theory.get(index)) for index, p in enumerate(points)]


def _after_normalisation(points: list[Point], index: int) -> int:
    while index + 1 < len(points) and points[index].kind != "input" and points[index + 1].kind == "normalisation":
        index += 1
    return index


def _title(flow: GradientFlow, points: list[Point], prediction: Prediction | None) -> str:
    if prediction is not None and prediction.decades is not None and not flow_terms.to_parameter(flow):
        measured = said(flow.total) if math.isinf(flow.total) else numbers.decades(flow.total)
        return f"Theory says {numbers.decades(prediction.decades)} decades from the output to the input, measured {measured}"
    first = points[0]
    if first.measured == -math.inf:
        arrives = next((point for point in points if point.measured > -math.inf), None)
        return "No gradient reaches the input" + (f"; the last to get any is {_where(arrives)}" if arrives else "")
    finite = [point for point in points if math.isfinite(point.measured)]
    if len(finite) < len(points) or not finite:
        return "The gradient is not a number everywhere"
    extreme = max(finite, key=lambda point: abs(point.measured))
    if abs(extreme.measured) < FLAT:
        return "The gradient is about equally large at every depth"
    word = "faintest" if extreme.measured < 0 else "largest"
    return f"The gradient is {word} at {_where(extreme)}: {numbers.decades(extreme.measured)} decades against the output"


def _where(point: Point) -> str:
    return f"the {point.label}" if not point.depth else flow_terms.place(point.label)


def _caption(prediction: Prediction | None) -> str:
    text = "RMS of the gradient at the output of every layer, activation and normalisation, over that at the network's output."
    if prediction is None:
        return text
    if prediction.decades is None:
        return f"{text} Theory gives no number here" + (f": {prediction.reason.rstrip('.')}." if prediction.reason else ".")
    return f"{text} Dashed: what mean-field theory says of such weights, from their variance alone and without data."


def _alternative(points: list[Point]) -> str:
    stops = evenly(points, 5)
    said_points = ", ".join(
        f"{point.label} {_words(point.measured)}" + (f" (theory {_words(point.theory)})" if point.theory is not None else "")
        for point in stops
    )
    return f"Line chart of the gradient by depth, {len(points)} points from the input to the output, in decades: {said_points}."


def _figure(points: list[Point]) -> go.Figure:
    finite = [v for p in points for v in (p.measured, p.theory) if v is not None and math.isfinite(v)] or [0.0]
    low, high = min(finite), max(finite)
    margin = max(0.06 * (high - low), 0.3)
    ticks = evenly(points, TICKS)
    figure = canvas(
        360,
        x={
            "title": titled("depth, from the input to the output"),
            "showgrid": False,
            "tickvals": [point.depth for point in ticks],
            "ticktext": [shortened(point.label, LABEL) for point in ticks],
            "range": [points[0].depth - 0.02 * len(points), points[-1].depth + 0.02 * len(points)],
        },
        y={
            "title": titled("log10 RMS, over the output's"),
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
    shown = evenly(points, POINTS)
    figure.add_trace(_measured(shown))
    theory = [point for point in shown if point.theory is not None]
    if theory:
        figure.add_trace(_forecast(theory))
    return figure


def _forecast(points: list[Point]) -> go.Scatter:
    return go.Scatter(
        x=[point.depth for point in points],
        y=[point.theory for point in points],
        mode="lines",
        name="theory",
        line={"color": CATEGORIES[1], "dash": DASHES[1], "width": 2},
        text=[point.label for point in points],
        hovertemplate="%{text}: theory %{y:.2f}<extra></extra>",
    )


def _measured(points: list[Point]) -> go.Scatter:
    return go.Scatter(
        x=[point.depth for point in points],
        y=[point.measured if math.isfinite(point.measured) else None for point in points],
        mode="lines+markers" if len(points) <= DOTS else "lines",
        name="measured",
        line={"color": CATEGORIES[0], "width": 2},
        marker={"size": 6},
        text=[f"{point.label} ({point.kind})" for point in points],
        hovertemplate="%{text}: %{y:.2f}<extra></extra>",
    )


def _add_hatching(figure: go.Figure, points: list[Point], low: float, high: float) -> None:
    """One hatched bar for each unbroken stretch without a finite value."""
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
                x=[(run[0] + run[-1]) / 2 for run in stretches],
                width=[run[-1] - run[0] + 1 for run in stretches],
                y=[high - low for _ in stretches],
                base=low,
                marker={"line": {"width": 0}, "pattern": dict(HATCHED)},
                showlegend=False,
                hoverinfo="skip",
            )
        )


def _words(value: float | None) -> str:
    if value is None:
        return ""
    return "exactly zero" if value == -math.inf else said(value)


def _table(points: Sequence[Point]) -> Table:
    chosen = evenly(list(points), TABLE_ROWS)
    rows = tuple(
        (
            point.label,
            point.kind,
            _words(point.measured),
            _words(point.theory),
            said(point.measured - point.theory) if point.theory is not None and math.isfinite(point.measured) else "",
        )
        for point in chosen
    )
    note = "" if len(chosen) == len(points) else f"{len(chosen)} of {len(points):,} places, evenly chosen."
    return Table(("at the output of", "kind", "measured", "theory", "measured less theory"), rows, note)
