"""The pictures of the activations: how large the signal is at every depth and step, and how much of it is stuck or silent."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from unvanish.record.run import Matrix, Run
from unvanish.report import heatmap, numbers
from unvanish.report.ladder import Columns, Ladder, columns, ladder, measured, over_steps
from unvanish.report.palette import DIVERGING, SHARE
from unvanish.report.picture import Picture

STUCK = 0.05  # a share of stuck inputs that we do not speak of; the pictures show it all the same


def spread_picture(run: Run) -> Picture | None:
    """The standard deviation of every site's output, as decades against 1; None where it was measured at fewer than two."""
    raw = measured(run, "activation_std")
    rows = ladder(run, ~np.isnan(raw))
    if len(rows) < 2:
        return None
    across = columns(run)
    with np.errstate(divide="ignore"):
        logs = np.log10(raw[:, list(rows.sites)])
    middle = over_steps(logs)
    values = np.where(logs == np.inf, np.nan, logs)[across.positions]
    broken = ~np.isfinite(raw[:, list(rows.sites)])[across.positions] & (_lost(run, rows, "nonfinite_count")[across.positions] > 0)
    return Picture(
        name="spread",
        title=_spread_title(rows, middle),
        caption="Standard deviation of each site's output. White is 1; blue is fainter, orange louder. "
        "The title gives medians of the steps.",
        alternative=_alternative("standard deviation of the outputs", rows, across, [_said(float(v)) for v in middle]),
        figure=heatmap.heatmap(
            rows,
            across,
            values=values,
            scale=heatmap.symmetric(values, DIVERGING, "log10 of the output's standard deviation (over 1)"),
            say=_said,
            broken=broken,
            ends=("input", "output"),
        ),
        table=heatmap.table(rows, across, values=values, say=_said, broken=broken),
        keys=heatmap.keys(values, broken),
    )


def stuck_picture(run: Run) -> Picture | None:
    """The share of every activation's inputs on flat ground, or of its outputs that are zero; None where neither was measured."""
    flat, zero = measured(run, "saturated_fraction"), measured(run, "zero_fraction")
    raw = np.where(np.isnan(flat), zero, flat) if flat.shape == zero.shape else flat
    rows = ladder(run, ~np.isnan(raw), kind="activation")
    if not len(rows):
        return None
    across = columns(run)
    shares = raw[:, list(rows.sites)]
    middle = over_steps(shares)
    most = int(np.nanargmax(middle))
    values = shares[across.positions]
    return Picture(
        name="stuck",
        title=_stuck_title(rows.labels[most], run.anatomy.sites[rows.sites[most]].op, float(middle[most])),
        caption="Share of each activation's inputs where its slope is under a twentieth of its steepest, so that hardly any "
        "gradient passes. A ReLU is flat for every negative input: about a half is usual for it.",
        alternative=_alternative("saturated or zero share", rows, across, [_share(float(v)) for v in middle]),
        figure=heatmap.heatmap(
            rows,
            across,
            values=values,
            scale=heatmap.Scale(SHARE, 0.0, 1.0, "share of the activation's inputs on flat ground", "share"),
            say=_share,
            ends=("input", "output"),
        ),
        table=heatmap.table(rows, across, values=values, say=_share),
        keys=heatmap.keys(values),
    )


def _spread_title(rows: Ladder, log10_std: NDArray[np.float64]) -> str:
    low, high = int(np.nanargmin(log10_std)), int(np.nanargmax(log10_std))
    weakest, strongest = f"{rows.labels[low]} ({_said(log10_std[low])})", f"{rows.labels[high]} ({_said(log10_std[high])})"
    return f"The signal is weakest at {weakest} and strongest at {strongest}"


def _stuck_title(label: str, op: str, share: float) -> str:
    if share < STUCK:
        return f"No activation is flat for more than {numbers.percent(share)} of its inputs"
    return f"At {label}, the {op} is flat for {numbers.percent(share)} of its inputs: the most of all activations"


def _lost(run: Run, rows: Ladder, quantity: str) -> Matrix:
    counts = measured(run, quantity)
    return counts[:, list(rows.sites)] if counts.size else np.zeros((len(run.sampled), len(rows)))


def _said(log10: float) -> str:
    if math.isnan(log10):
        return "not measured"
    return "0" if log10 == -math.inf else numbers.figure(10**log10, 2)


def _share(value: float) -> str:
    return "not measured" if math.isnan(value) else numbers.percent(value)


def _alternative(what: str, rows: Ladder, across: Columns, said: list[str]) -> str:
    stops = np.unique(np.linspace(0, len(rows) - 1, 5).round().astype(int))
    values = ", ".join(f"{rows.labels[i]} {said[i]}" for i in stops)
    return (
        f"Heat map: {what}, {numbers.plural(len(rows), 'site')}, {numbers.plural(len(across.steps), 'sampled step')} "
        f"from {across.steps[0]:,} to {across.steps[-1]:,}. Medians from the input to the output: {values}."
    )
