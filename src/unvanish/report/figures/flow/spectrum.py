"""Builds the charts of Jacobian singular values: a histogram for one Jacobian, or the range at each of several layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from unvanish.record.jacobian_spectrum import JacobianSpectrum
from unvanish.report.figures.bar_chart import HATCHING, choose_colour
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.views import flow_terms
from unvanish.report.views.flow_terms import format_signed_decades
from unvanish.report.views.row_selection import sample_evenly
from unvanish.report.wording import numbers
from unvanish.report.wording.locations import shorten_label

BINS = 30
MIN_AXIS_DECADES = 0.2  # an orthogonal network has one singular value, many times
MAX_LAYERS = 18  # rows that can be taken in at one glance
LABEL_WIDTH = 24  # characters
NEGLIGIBLE_RANGE = 1.0  # decades between the largest and smallest singular value; our choice of words, no verdict


def build_spectrum_picture(spectra: Sequence[JacobianSpectrum]) -> Picture | None:
    """The distribution of one Jacobian's singular values, or the range of each of several; None where there is none."""
    measured = [spectrum for spectrum in spectra if spectrum.density and spectrum.log10_largest > -math.inf]
    if not measured:
        return None
    is_range = len(measured) > 1
    shown = sample_evenly(measured, MAX_LAYERS)
    title = _title(measured[-1])
    return Picture(
        name="spectrum",
        title=title,
        caption=_caption(measured, shown),
        text_alternative=f"{'Range chart' if is_range else 'Histogram'} of singular values, log10. "
        + "; ".join(f"{_format_output(s)}: {_format_extremes(s)}" for s in shown)
        + ".",
        figure=_build_ranges(shown) if is_range else _build_histogram(measured[0]),
        table=_table(measured),
        legend=(("hatched", "exactly zero, or too small to be told from zero"),) if not is_range and measured[0].zero_share else (),
    )


def _format_output(spectrum: JacobianSpectrum) -> str:
    return flow_terms.format_label(spectrum.layer) or "the output"


def _title(spectrum: JacobianSpectrum) -> str:
    path = f"From the input to {_format_output(spectrum)},"
    largest, smallest, middle = spectrum.log10_largest, _smallest_nonzero(spectrum), spectrum.mean_log10_nonzero
    zero = spectrum.zero_share
    if zero:
        share = numbers.format_percent(zero)
        return f"{path} {share} of all directions are lost; the largest singular value is {_format_power(largest)}"
    if largest - smallest < NEGLIGIBLE_RANGE:
        return f"{path} all directions fare alike: their singular values are about {_format_power(middle)}"
    return f"{path} singular values are typically {_format_power(middle)}, and span {largest - smallest:.1f} decades"


def _format_power(log10: float) -> str:
    return numbers.format_number(10.0**log10, 2) if abs(log10) < 4 else f"10 to the {log10:.1f}"


def _smallest_nonzero(spectrum: JacobianSpectrum) -> float:
    """log10 of the smallest singular value that is not zero."""
    return min(log10 for log10, _ in spectrum.density if log10 > -math.inf)


def _caption(spectra: Sequence[JacobianSpectrum], shown: Sequence[JacobianSpectrum]) -> str:
    last = spectra[-1]
    text = (
        "A singular value says how much of a small change of the input arrives, in one direction: blue is shrunk, "
        "orange stretched. "
        if len(spectra) == 1
        else "How much of a small change of the input arrives at each layer, over all directions: from the smallest singular value "
        "to the largest, with the mean of their logarithms as a dot. "
    )
    text += f"Jacobian of {last.rows:,} by {last.columns:,}, c" if len(spectra) == 1 else "C"
    text += (
        "omputed exactly."
        if all(s.exact for s in spectra)
        else f"omputed in part: an estimate by Lanczos quadrature{_format_error(last)}."
    )
    text += "" if len(shown) == len(spectra) else f" Shown: {len(shown)} of {len(spectra)} layers, evenly chosen."
    return text + _describe_bounds(spectra)


def _format_error(spectrum: JacobianSpectrum) -> str:
    return (
        f" (standard error of the mean {numbers.format_number(spectrum.mean_standard_error, 1)} decades)"
        if not spectrum.exact
        else ""
    )


def _describe_bounds(spectra: Sequence[JacobianSpectrum]) -> str:
    bounds = [
        text
        for text, is_open in (
            ("the largest is a lower bound", any(not s.largest_converged for s in spectra)),
            ("the smallest is an upper bound", any(not s.smallest_converged for s in spectra)),
            ("the mean is rather too high", any(not s.mean_converged for s in spectra)),
        )
        if is_open
    ]
    return f" Not converged: {', '.join(bounds)}." if bounds else ""


def _build_histogram(spectrum: JacobianSpectrum) -> go.Figure:
    nonzero = [(log10, weight) for log10, weight in spectrum.density if log10 > -math.inf]
    values, weights = np.array([v for v, _ in nonzero]), np.array([w for _, w in nonzero])
    low, high = float(values.min()), float(values.max())
    padding = max(0.0, MIN_AXIS_DECADES - (high - low)) / 2
    low, high = low - padding, high + padding
    step = (high - low) / BINS
    zero = spectrum.zero_share
    left = low - (4 * step if zero else step)
    shares, edges = np.histogram(values, bins=BINS, range=(low, high), weights=weights)
    middles = (edges[:-1] + edges[1:]) / 2
    figure = build_empty_figure(
        340,
        x={"title": build_axis_title("log10 of the singular value"), "showgrid": False, "range": [left, high + step]},
        y={"title": build_axis_title("share of all directions"), "tickformat": ".0%", "rangemode": "tozero"},
        showlegend=True,
        legend={"orientation": "h", "y": -0.2, "x": 0, "yanchor": "top", "font": {"size": 12}},
        bargap=0,
    )
    full_scale = max(1.0, abs(low), abs(high))
    figure.add_trace(
        go.Bar(
            x=middles.tolist(),
            y=shares.tolist(),
            width=step * 0.92,
            marker={"color": [choose_colour(float(middle), full_scale) for middle in middles], "line": {"width": 0}},
            hovertemplate="about %{x:.2f}: %{y:.1%}<extra></extra>",
            showlegend=False,
        )
    )
    if zero:
        _add_zeros(figure, low - 2.5 * step, step, zero)
    _add_marks(figure, spectrum, float(max(shares.max(), zero)))
    return figure


def _add_zeros(figure: go.Figure, x: float, step: float, share: float) -> None:
    figure.add_trace(
        go.Bar(
            x=[x],
            y=[share],
            width=1.6 * step,
            marker={"pattern": dict(HATCHING), "line": {"width": 1, "color": QUIET}},
            hovertemplate=f"exactly zero: {numbers.format_percent(share)}<extra></extra>",
            showlegend=False,
        )
    )


def _add_marks(figure: go.Figure, spectrum: JacobianSpectrum, height: float) -> None:
    nonzero = " of those that are not zero" if spectrum.zero_share else ""
    marks = (
        (f"smallest{nonzero}", _smallest_nonzero(spectrum)),
        (f"mean{nonzero}", spectrum.mean_log10_nonzero),
        ("largest", spectrum.log10_largest),
    )
    for index, (name, at) in enumerate(marks):
        figure.add_trace(
            go.Scatter(
                x=[at, at],
                y=[0, 1.08 * height],
                mode="lines",
                name=numbers.typeset(f"{name} {format_signed_decades(at)}"),
                line={"color": CATEGORIES[index + 2], "dash": DASHES[(1, 0, 2)[index]], "width": 2.5},
                hovertemplate="%{fullData.name}<extra></extra>",
            )
        )


def _build_ranges(spectra: Sequence[JacobianSpectrum]) -> go.Figure:
    """One horizontal line for each layer, the last layer at the top as in the heat map of the gradient."""
    figure = build_empty_figure(
        96 + 24 * len(spectra),
        x={"title": build_axis_title("log10 of the singular values"), "zeroline": True, "zerolinecolor": QUIET},
        y={
            "tickvals": list(range(len(spectra))),
            "ticktext": [shorten_label(_format_output(s), LABEL_WIDTH) for s in spectra],
            "range": [-0.7, len(spectra) - 0.3],
            "showgrid": False,
        },
    )
    full_scale = max(1.0, *(abs(v) for s in spectra for v in (s.log10_largest, _smallest_nonzero(s))))
    for row, spectrum in enumerate(spectra):
        low, high, middle = _smallest_nonzero(spectrum), spectrum.log10_largest, spectrum.mean_log10_nonzero
        colour = choose_colour(middle, full_scale)
        hover = f"{_format_output(spectrum)}: {numbers.typeset(_format_extremes(spectrum))}<extra></extra>"
        figure.add_trace(
            go.Scatter(x=[low, high], y=[row, row], mode="lines", line={"color": colour, "width": 5}, hovertemplate=hover)
        )
        figure.add_trace(
            go.Scatter(
                x=[middle],
                y=[row],
                mode="markers",
                marker={"color": colour, "size": 12, "line": {"color": QUIET, "width": 1.5}},
                hovertemplate=hover,
            )
        )
    return figure


def _format_extremes(spectrum: JacobianSpectrum) -> str:
    zero = f", {numbers.format_percent(spectrum.zero_share)} zero" if spectrum.zero_share else ""
    largest, smallest = format_signed_decades(spectrum.log10_largest), format_signed_decades(_smallest_nonzero(spectrum))
    mean = format_signed_decades(spectrum.mean_log10_nonzero)
    return f"largest {largest}, mean {mean}, smallest {smallest}{zero}"


def _table(spectra: Sequence[JacobianSpectrum]) -> Table:
    rows = tuple(
        (
            _format_output(s),
            f"{s.rows:,} by {s.columns:,}",
            format_signed_decades(s.log10_largest),
            format_signed_decades(s.log10_rms),
            format_signed_decades(s.mean_log10_nonzero),
            format_signed_decades(_smallest_nonzero(s)),
            numbers.format_percent(s.zero_share),
            "exact" if s.exact else f"estimate ± {numbers.format_number(s.mean_standard_error, 1)}",
        )
        for s in spectra
    )
    return Table(("at", "Jacobian", "largest", "RMS", "mean log10", "smallest", "zero", "how"), rows, "All logarithms to base ten.")
