"""Builds the chart of the gradient through time, one curve for each recurrence over the steps back from the last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from unvanish.record.gradient_flow import GradientFlow, TimeProfile
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.views.flow_terms import format_signed_decades
from unvanish.report.views.row_selection import sample_evenly
from unvanish.report.wording import numbers
from unvanish.report.wording.locations import shorten_label

HORIZON = -3.0  # decades: the horizon of a profile is where a thousandth is left
MIN_SLOPE = 0.005  # decades a step that the second decimal shows; less is described as level
LABEL_WIDTH = 24  # characters
MAX_LARGE_MARKERS = 60  # time steps whose points can still be told apart
MAX_TABLE_COLUMNS = 12
NAME_HEIGHT = 18  # pixels


@dataclass(frozen=True, slots=True)
class TimeCurve:
    """One recurrence by steps back from its last: decades over the gradient at the last step, None where that is not finite."""

    name: str
    carried: list[float | None]
    gradient: list[float | None]


def build_time_picture(flow: GradientFlow) -> Picture | None:
    """The gradient along up to six recurrences; None where the network has none that was unrolled over several steps."""
    profiles = [profile for profile in flow.times if profile.steps > 1]
    if not profiles:
        return None
    shown = sample_evenly(profiles, len(CATEGORIES))
    selection_note = "" if len(shown) == len(profiles) else f" Shown: {len(shown)} of {len(profiles)} recurrences, evenly chosen."
    title = "; ".join(describe_time_profile(profile) for profile in _steepest(profiles))
    return Picture(
        name="time",
        title=f"Through {title}",
        caption="Lines: what is left, at each step back, of the gradient that enters the recurrence at its last step. "
        "Dots: the whole gradient there, over the last step's; it is larger where every step has a loss of its own. "
        f"Horizon: beyond it less than a thousandth is left, by the slope.{selection_note}",
        text_alternative="Line chart of the gradient through time. "
        + "; ".join(describe_time_profile(profile) for profile in profiles)
        + ".",
        figure=_figure(shown),
        table=_table(profiles),
    )


def describe_time_profile(profile: TimeProfile) -> str:
    """How the gradient changes along a recurrence: "rnn.weight_hh_l0 the gradient loses 0.21 decades a step: after 14 steps …"."""
    slope = profile.decades_per_step
    name = shorten_label(profile.name, 2 * LABEL_WIDTH)
    if math.isnan(slope):
        return f"{name} the gradient is not a number"
    if slope == -math.inf:
        return f"{name} no gradient is carried back at all"
    if abs(slope) < MIN_SLOPE:
        return f"{name} the gradient hardly changes over {numbers.pluralise(profile.steps, 'step')}"
    if slope > 0:
        return f"{name} the gradient grows by {numbers.format_number(slope, 2)} decades a step"
    return f"{name} the gradient loses {numbers.format_number(-slope, 2)} decades a step{_format_horizon(profile)}"


def _format_horizon(profile: TimeProfile) -> str:
    if profile.horizon is None:
        return ""
    return f": after {_format_steps(profile.horizon)} less than a thousandth is left"


def _format_steps(horizon: float) -> str:
    steps = max(1, math.ceil(horizon)) if horizon < 1e6 else 1_000_000
    return f"{numbers.spell_count(steps)} step{'' if steps == 1 else 's'}"


def _steepest(profiles: list[TimeProfile]) -> list[TimeProfile]:
    """The recurrence that the title describes, as a list of one: where the gradient changes fastest."""
    return [max(profiles, key=lambda profile: math.inf if math.isnan(profile.decades_per_step) else abs(profile.decades_per_step))]


def _build_curve(profile: TimeProfile) -> TimeCurve:
    gradient = _relative_to_last(profile, profile.log10_gradient_rms)
    carried = _relative_to_last(profile, profile.log10_carried)
    # Not every tracer lists what the last step itself carries: the lists end together at the first step.
    missing: list[float | None] = [None] * (len(gradient) - len(carried))
    return TimeCurve(
        name=shorten_label(profile.name, LABEL_WIDTH),
        carried=missing + [value if math.isfinite(value) else None for value in carried],
        gradient=[value if math.isfinite(value) else None for value in gradient],
    )


def _relative_to_last(profile: TimeProfile, values: Sequence[float]) -> list[float]:
    """The values from the last step back, in decades over the gradient at the last step where it is finite."""
    last = next((value for value in reversed(profile.log10_gradient_rms) if math.isfinite(value)), 0.0)
    return [value - last for value in reversed(values)]


def _figure(profiles: list[TimeProfile]) -> go.Figure:
    curves = [_build_curve(profile) for profile in profiles]
    longest = max(profile.steps for profile in profiles)
    with_horizon = [profile for profile in profiles if profile.horizon is not None and profile.horizon < longest - 1]
    figure = build_empty_figure(
        350 + NAME_HEIGHT * len(with_horizon),
        x={
            "title": build_axis_title("steps back from the last"),
            "showgrid": False,
            "range": [-0.02 * longest, 1.02 * (longest - 1)],
        },
        y={"title": build_axis_title("log10, over the last step's"), "zeroline": True, "zerolinecolor": QUIET},
        showlegend=True,
        legend={"orientation": "h", "y": -0.22, "x": 0, "yanchor": "top", "font": {"size": 12}},
        margin={"l": 8, "r": 12, "t": 14 + NAME_HEIGHT * len(with_horizon), "b": 8},
    )
    for index, (curve, profile) in enumerate(zip(curves, profiles, strict=True)):
        _add_curve(figure, curve, index)
        if profile in with_horizon:
            _add_horizon(figure, profile, level=with_horizon.index(profile), longest=longest)
    return figure


def _add_curve(figure: go.Figure, curve: TimeCurve, index: int) -> None:
    steps_back = list(range(len(curve.carried)))
    colour = CATEGORIES[index]
    figure.add_trace(
        go.Scatter(
            x=steps_back,
            y=curve.gradient,
            mode="markers",
            name=f"{curve.name}, whole gradient",
            marker={"color": colour, "size": 5 if len(steps_back) <= MAX_LARGE_MARKERS else 3, "opacity": 0.55},
            hovertemplate=f"{curve.name}, %{{x}} steps back: gradient %{{y:.2f}}<extra></extra>",
            showlegend=index == 0,
            legendgroup="gradient",
        )
    )
    figure.data[-1].name = "dots: the whole gradient"
    figure.add_trace(
        go.Scatter(
            x=steps_back,
            y=curve.carried,
            mode="lines",
            name=curve.name,
            line={"color": colour, "dash": DASHES[index], "width": 2},
            hovertemplate=f"{curve.name}, %{{x}} steps back: %{{y:.2f}} is carried<extra></extra>",
        )
    )


def _add_horizon(figure: go.Figure, profile: TimeProfile, *, level: int, longest: int) -> None:
    """Adds a vertical line with its name above the plot, `level` lines of text above the axis."""
    horizon = profile.horizon or 0.0
    figure.add_vline(x=horizon, line={"color": QUIET, "dash": "dot", "width": 1.5})
    figure.add_annotation(
        x=horizon,
        y=1,
        yref="paper",
        yanchor="bottom",
        yshift=NAME_HEIGHT * level,
        xanchor="right" if horizon > longest / 2 else "left",
        text=f"horizon of {shorten_label(profile.path or profile.name, LABEL_WIDTH)}: {_format_steps(horizon)}",
        showarrow=False,
        font={"size": 12},
    )


def _table(profiles: list[TimeProfile]) -> Table:
    longest = max(profile.steps for profile in profiles)
    columns = sample_evenly(list(range(longest)), MAX_TABLE_COLUMNS)
    rows: list[tuple[str, ...]] = []
    for profile in profiles:
        slope = (
            format_signed_decades(profile.decades_per_step)
            if abs(profile.decades_per_step) >= MIN_SLOPE
            else f"{profile.decades_per_step:+.1g}"
        )
        horizon = "none" if profile.horizon is None else numbers.format_number(profile.horizon)
        for quantity, values in (("carried", profile.log10_carried), ("the whole gradient", profile.log10_gradient_rms)):
            decades = [math.nan] * (profile.steps - len(values)) + _relative_to_last(profile, values)
            cells = (_format_cell(decades[c]) if c < len(decades) else "" for c in columns)
            rows.append((profile.name, quantity, slope, horizon, *cells))
    note = "" if len(columns) == longest else f"{len(columns)} of {longest:,} time steps, evenly chosen."
    return Table(("recurrence", "what", "decades a step", "horizon", *(f"{c} back" for c in columns)), tuple(rows), note)


def _format_cell(value: float) -> str:
    if math.isnan(value):
        return "none"
    return "exactly zero" if value == -math.inf else format_signed_decades(value)
