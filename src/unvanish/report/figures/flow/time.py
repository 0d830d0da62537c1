"""The gradient through time: what is left of it, step by step, on its way back along a recurrence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from unvanish.record.flow import GradientFlow, TimeProfile
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.views.flow_terms import said
from unvanish.report.views.shown_rows import evenly
from unvanish.report.wording import numbers
from unvanish.report.wording.places import shortened

HORIZON = -3.0  # decades: the horizon of a profile is where a thousandth is left
NOTABLE = 0.005  # decades a step that the second decimal shows; less is said to be level
LABEL = 24
DOTS = 60  # time steps whose points can still be told apart
TABLE_COLUMNS = 12
NAME_HEIGHT = 18  # pixels


@dataclass(frozen=True, slots=True)
class Curve:
    """One recurrence against the steps back from its last: decades over the last step's, None where there is no finite number."""

    name: str
    carried: list[float | None]
    gradient: list[float | None]


def time_picture(flow: GradientFlow) -> Picture | None:
    """The gradient along every recurrence, up to six of them; None where the network has none that was unrolled over steps."""
    profiles = [profile for profile in flow.times if profile.steps > 1]
    if not profiles:
        return None
    shown = evenly(profiles, len(CATEGORIES))
    left_out = "" if len(shown) == len(profiles) else f" Shown: {len(shown)} of {len(profiles)} recurrences, evenly chosen."
    title = "; ".join(through_time(profile) for profile in _steepest(profiles))
    return Picture(
        name="time",
        title=f"Through {title}",
        caption="Lines: what is left, at each step back, of the gradient that enters the recurrence at its last step. "
        "Dots: the whole gradient there, over the last step's; it is larger where every step has a loss of its own. "
        f"Horizon: beyond it less than a thousandth is left, by the slope.{left_out}",
        alternative="Line chart of the gradient through time. " + "; ".join(through_time(profile) for profile in profiles) + ".",
        figure=_figure(shown),
        table=_table(profiles),
    )


def through_time(profile: TimeProfile) -> str:
    """How the gradient fares along the recurrence: "rnn.weight_hh_l0 it loses 0.21 decades a step: after 14 steps …"."""
    slope = profile.decades_per_step
    name = shortened(profile.name, 2 * LABEL)
    if math.isnan(slope):
        return f"{name} the gradient is not a number"
    if slope == -math.inf:
        return f"{name} no gradient is carried back at all"
    if abs(slope) < NOTABLE:
        return f"{name} the gradient hardly changes over {numbers.plural(profile.steps, 'step')}"
    if slope > 0:
        return f"{name} the gradient grows by {numbers.figure(slope, 2)} decades a step"
    return f"{name} the gradient loses {numbers.figure(-slope, 2)} decades a step{_horizon(profile)}"


def _horizon(profile: TimeProfile) -> str:
    if profile.horizon is None:
        return ""
    return f": after {_steps(profile.horizon)} less than a thousandth is left"


def _steps(horizon: float) -> str:
    whole = max(1, math.ceil(horizon)) if horizon < 1e6 else 1_000_000
    return f"{numbers.word(whole)} step{'' if whole == 1 else 's'}"


def _steepest(profiles: list[TimeProfile]) -> list[TimeProfile]:
    """The recurrence that a title speaks of: where the gradient changes fastest."""
    return [max(profiles, key=lambda profile: math.inf if math.isnan(profile.decades_per_step) else abs(profile.decades_per_step))]


def _curve(profile: TimeProfile) -> Curve:
    whole = _over_last(profile, profile.log10_gradient_rms)
    carried = _over_last(profile, profile.log10_carried)
    # What the last step itself carries is not listed by every tracer: the lists end together at the first step.
    missing: list[float | None] = [None] * (len(whole) - len(carried))
    return Curve(
        name=shortened(profile.name, LABEL),
        carried=missing + [value if math.isfinite(value) else None for value in carried],
        gradient=[value if math.isfinite(value) else None for value in whole],
    )


def _over_last(profile: TimeProfile, values: Sequence[float]) -> list[float]:
    """The values from the last step back, over the whole gradient at the last step that has one."""
    last = next((value for value in reversed(profile.log10_gradient_rms) if math.isfinite(value)), 0.0)
    return [value - last for value in reversed(values)]


def _figure(profiles: list[TimeProfile]) -> go.Figure:
    curves = [_curve(profile) for profile in profiles]
    longest = max(profile.steps for profile in profiles)
    marked = [profile for profile in profiles if profile.horizon is not None and profile.horizon < longest - 1]
    figure = canvas(
        350 + NAME_HEIGHT * len(marked),
        x={"title": titled("steps back from the last"), "showgrid": False, "range": [-0.02 * longest, 1.02 * (longest - 1)]},
        y={"title": titled("log10, over the last step's"), "zeroline": True, "zerolinecolor": QUIET},
        showlegend=True,
        legend={"orientation": "h", "y": -0.22, "x": 0, "yanchor": "top", "font": {"size": 12}},
        margin={"l": 8, "r": 12, "t": 14 + NAME_HEIGHT * len(marked), "b": 8},
    )
    for index, (curve, profile) in enumerate(zip(curves, profiles, strict=True)):
        _add_curve(figure, curve, index)
        if profile in marked:
            _add_horizon(figure, profile, level=marked.index(profile), longest=longest)
    return figure


def _add_curve(figure: go.Figure, curve: Curve, index: int) -> None:
    back = list(range(len(curve.carried)))
    colour = CATEGORIES[index]
    figure.add_trace(
        go.Scatter(
            x=back,
            y=curve.gradient,
            mode="markers",
            name=f"{curve.name}, whole gradient",
            marker={"color": colour, "size": 5 if len(back) <= DOTS else 3, "opacity": 0.55},
            hovertemplate=f"{curve.name}, %{{x}} steps back: gradient %{{y:.2f}}<extra></extra>",
            showlegend=index == 0,
            legendgroup="gradient",
        )
    )
    figure.data[-1].name = "dots: the whole gradient"
    figure.add_trace(
        go.Scatter(
            x=back,
            y=curve.carried,
            mode="lines",
            name=curve.name,
            line={"color": colour, "dash": DASHES[index], "width": 2},
            hovertemplate=f"{curve.name}, %{{x}} steps back: %{{y:.2f}} is carried<extra></extra>",
        )
    )


def _add_horizon(figure: go.Figure, profile: TimeProfile, *, level: int, longest: int) -> None:
    """A vertical line with its name above the plot, each on a level of its own."""
    horizon = profile.horizon or 0.0
    figure.add_vline(x=horizon, line={"color": QUIET, "dash": "dot", "width": 1.5})
    figure.add_annotation(
        x=horizon,
        y=1,
        yref="paper",
        yanchor="bottom",
        yshift=NAME_HEIGHT * level,
        xanchor="right" if horizon > longest / 2 else "left",
        text=f"horizon of {shortened(profile.path or profile.name, LABEL)}: {_steps(horizon)}",
        showarrow=False,
        font={"size": 12},
    )


def _table(profiles: list[TimeProfile]) -> Table:
    longest = max(profile.steps for profile in profiles)
    columns = evenly(list(range(longest)), TABLE_COLUMNS)
    rows: list[tuple[str, ...]] = []
    for profile in profiles:
        slope = said(profile.decades_per_step) if abs(profile.decades_per_step) >= NOTABLE else f"{profile.decades_per_step:+.1g}"
        horizon = "none" if profile.horizon is None else numbers.figure(profile.horizon)
        for what, values in (("carried", profile.log10_carried), ("the whole gradient", profile.log10_gradient_rms)):
            back = [math.nan] * (profile.steps - len(values)) + _over_last(profile, values)
            cells = (_cell(back[c]) if c < len(back) else "" for c in columns)
            rows.append((profile.name, what, slope, horizon, *cells))
    note = "" if len(columns) == longest else f"{len(columns)} of {longest:,} time steps, evenly chosen."
    return Table(("recurrence", "what", "decades a step", "horizon", *(f"{c} back" for c in columns)), tuple(rows), note)


def _cell(value: float) -> str:
    if math.isnan(value):
        return "none"
    return "exactly zero" if value == -math.inf else said(value)
