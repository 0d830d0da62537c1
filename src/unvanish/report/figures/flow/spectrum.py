"""How a network stretches and shrinks what comes in: the singular values of its Jacobian, of one layer or of several."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from unvanish.record.spectrum import JacobianSpectrum
from unvanish.report.figures.bar_chart import HATCHED, colour
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.views import flow_terms
from unvanish.report.views.flow_terms import said
from unvanish.report.views.shown_rows import evenly
from unvanish.report.wording import numbers
from unvanish.report.wording.places import shortened

BINS = 30
NARROW = 0.2  # decades that the axis covers at least: an orthogonal network has one singular value, many times
LAYERS = 18  # rows that are seen at one glance
LABEL = 24
EVEN = 1.0  # decades between the largest and the smallest singular value that are hardly any; our choice of words, no verdict


def spectrum_picture(spectra: Sequence[JacobianSpectrum]) -> Picture | None:
    """The distribution of one Jacobian's singular values, or the range of each of several; None where there is none."""
    drawn = [spectrum for spectrum in spectra if spectrum.density and spectrum.log10_largest > -math.inf]
    if not drawn:
        return None
    several = len(drawn) > 1
    shown = evenly(drawn, LAYERS)
    title = _title(drawn[-1])
    return Picture(
        name="spectrum",
        title=title,
        caption=_caption(drawn, shown),
        alternative=f"{'Range chart' if several else 'Histogram'} of singular values, log10. "
        + "; ".join(f"{_place(s)}: {_extremes(s)}" for s in shown)
        + ".",
        figure=_ranges(shown) if several else _histogram(drawn[0]),
        table=_table(drawn),
        keys=(("hatched", "exactly zero, or too small to be told from zero"),) if not several and drawn[0].zero_share else (),
    )


def _place(spectrum: JacobianSpectrum) -> str:
    return flow_terms.place(spectrum.layer) or "the output"


def _title(spectrum: JacobianSpectrum) -> str:
    whole = f"From the input to {_place(spectrum)},"
    largest, smallest, middle = spectrum.log10_largest, _smallest(spectrum), spectrum.mean_log10_nonzero
    zero = spectrum.zero_share
    if zero:
        return f"{whole} {numbers.percent(zero)} of all directions are lost; the largest singular value is {_ten(largest)}"
    if largest - smallest < EVEN:
        return f"{whole} all directions fare alike: their singular values are about {_ten(middle)}"
    return f"{whole} singular values are typically {_ten(middle)}, and span {largest - smallest:.1f} decades"


def _ten(log10: float) -> str:
    return numbers.figure(10.0**log10, 2) if abs(log10) < 4 else f"10 to the {log10:.1f}"


def _smallest(spectrum: JacobianSpectrum) -> float:
    """The smallest singular value that is not zero, log10."""
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
        else f"omputed in part: an estimate by Lanczos quadrature{_error(last)}."
    )
    text += "" if len(shown) == len(spectra) else f" Shown: {len(shown)} of {len(spectra)} layers, evenly chosen."
    return text + _bounds(spectra)


def _error(spectrum: JacobianSpectrum) -> str:
    return f" (standard error of the mean {numbers.figure(spectrum.mean_standard_error, 1)} decades)" if not spectrum.exact else ""


def _bounds(spectra: Sequence[JacobianSpectrum]) -> str:
    bounds = [
        words
        for words, open_ in (
            ("the largest is a lower bound", any(not s.largest_converged for s in spectra)),
            ("the smallest is an upper bound", any(not s.smallest_converged for s in spectra)),
            ("the mean is rather too high", any(not s.mean_converged for s in spectra)),
        )
        if open_
    ]
    return f" Not converged: {', '.join(bounds)}." if bounds else ""


def _histogram(spectrum: JacobianSpectrum) -> go.Figure:
    nonzero = [(log10, weight) for log10, weight in spectrum.density if log10 > -math.inf]
    values, weights = np.array([v for v, _ in nonzero]), np.array([w for _, w in nonzero])
    low, high = float(values.min()), float(values.max())
    widen = max(0.0, NARROW - (high - low)) / 2
    low, high = low - widen, high + widen
    step = (high - low) / BINS
    zero = spectrum.zero_share
    left = low - (4 * step if zero else step)
    shares, edges = np.histogram(values, bins=BINS, range=(low, high), weights=weights)
    middles = (edges[:-1] + edges[1:]) / 2
    figure = canvas(
        340,
        x={"title": titled("log10 of the singular value"), "showgrid": False, "range": [left, high + step]},
        y={"title": titled("share of all directions"), "tickformat": ".0%", "rangemode": "tozero"},
        showlegend=True,
        legend={"orientation": "h", "y": -0.2, "x": 0, "yanchor": "top", "font": {"size": 12}},
        bargap=0,
    )
    reach = max(1.0, abs(low), abs(high))
    figure.add_trace(
        go.Bar(
            x=middles.tolist(),
            y=shares.tolist(),
            width=step * 0.92,
            marker={"color": [colour(float(middle), reach) for middle in middles], "line": {"width": 0}},
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
            marker={"pattern": dict(HATCHED), "line": {"width": 1, "color": QUIET}},
            hovertemplate=f"exactly zero: {numbers.percent(share)}<extra></extra>",
            showlegend=False,
        )
    )


def _add_marks(figure: go.Figure, spectrum: JacobianSpectrum, height: float) -> None:
    nonzero = " of those that are not zero" if spectrum.zero_share else ""
    marks = (
        (f"smallest{nonzero}", _smallest(spectrum)),
        (f"mean{nonzero}", spectrum.mean_log10_nonzero),
        ("largest", spectrum.log10_largest),
    )
    for index, (name, at) in enumerate(marks):
        figure.add_trace(
            go.Scatter(
                x=[at, at],
                y=[0, 1.08 * height],
                mode="lines",
                name=numbers.typeset(f"{name} {said(at)}"),
                line={"color": CATEGORIES[index + 2], "dash": DASHES[(1, 0, 2)[index]], "width": 2.5},
                hovertemplate="%{fullData.name}<extra></extra>",
            )
        )


def _ranges(spectra: Sequence[JacobianSpectrum]) -> go.Figure:
    """One line a layer, the last at the top as in the picture of the gradient."""
    figure = canvas(
        96 + 24 * len(spectra),
        x={"title": titled("log10 of the singular values"), "zeroline": True, "zerolinecolor": QUIET},
        y={
            "tickvals": list(range(len(spectra))),
            "ticktext": [shortened(_place(s), LABEL) for s in spectra],
            "range": [-0.7, len(spectra) - 0.3],
            "showgrid": False,
        },
    )
    reach = max(1.0, *(abs(v) for s in spectra for v in (s.log10_largest, _smallest(s))))
    for row, spectrum in enumerate(spectra):
        low, high, middle = _smallest(spectrum), spectrum.log10_largest, spectrum.mean_log10_nonzero
        tint = colour(middle, reach)
        hover = f"{_place(spectrum)}: {numbers.typeset(_extremes(spectrum))}<extra></extra>"
        figure.add_trace(
            go.Scatter(x=[low, high], y=[row, row], mode="lines", line={"color": tint, "width": 5}, hovertemplate=hover)
        )
        figure.add_trace(
            go.Scatter(
                x=[middle],
                y=[row],
                mode="markers",
                marker={"color": tint, "size": 12, "line": {"color": QUIET, "width": 1.5}},
                hovertemplate=hover,
            )
        )
    return figure


def _extremes(spectrum: JacobianSpectrum) -> str:
    zero = f", {numbers.percent(spectrum.zero_share)} zero" if spectrum.zero_share else ""
    middle = f"mean {said(spectrum.mean_log10_nonzero)}"
    return f"largest {said(spectrum.log10_largest)}, {middle}, smallest {said(_smallest(spectrum))}{zero}"


def _table(spectra: Sequence[JacobianSpectrum]) -> Table:
    rows = tuple(
        (
            _place(s),
            f"{s.rows:,} by {s.columns:,}",
            said(s.log10_largest),
            said(s.log10_rms),
            said(s.mean_log10_nonzero),
            said(_smallest(s)),
            numbers.percent(s.zero_share),
            "exact" if s.exact else f"estimate ± {numbers.figure(s.mean_standard_error, 1)}",
        )
        for s in spectra
    )
    return Table(("at", "Jacobian", "largest", "RMS", "mean log10", "smallest", "zero", "how"), rows, "All logarithms to base ten.")
