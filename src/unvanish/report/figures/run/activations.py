"""The pictures of the activations: how large the signal is at every depth and step, and how much of it is stuck or silent."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from unvanish.record.run import Matrix, Run
from unvanish.report.figures import heatmap
from unvanish.report.figures.palette import DIVERGING, SHARE
from unvanish.report.figures.picture import Picture
from unvanish.report.views.shown_rows import Columns, Ladder, columns, ladder, measured, over_steps, shown_note
from unvanish.report.wording import numbers

WORTH_DRAWING = 0.05  # an empty picture says less than a sentence: below this share everywhere, the sentence stands instead


def spread_picture(run: Run) -> Picture | None:
    """The standard deviation of every site's output, as decades against 1; None where it was measured at fewer than two."""
    raw = measured(run, "activation_std")
    rows = ladder(run, ~np.isnan(raw))
    if len(rows) < 2:
        return None
    sites = list(rows.sites)
    broken = _broken(run, sites)
    with np.errstate(divide="ignore"):
        logs = np.log10(np.where(broken | (raw[:, sites] == np.inf), np.nan, raw[:, sites]))
    middle = over_steps(logs)
    across = columns(run, ~np.isnan(logs))
    cells = heatmap.Cells(rows, across, logs[across.positions], broken[across.positions], _said)
    scale = heatmap.symmetric(cells.values, DIVERGING, "log10 of the standard deviation")
    return Picture(
        name="spread",
        title=_spread_title(rows, middle),
        caption=_spread_caption(run, shown_note(rows, across)),
        alternative=_alternative("standard deviation of the outputs", rows, across, [_said(float(v)) for v in middle]),
        figure=heatmap.heatmap(cells, scale, ends=("input", "output")),
        table=heatmap.table(cells),
        keys=heatmap.keys(cells),
    )


def stuck_picture(run: Run) -> Picture | None:
    """The share of every activation's inputs on flat ground, or of its outputs that are zero.

    None where neither was measured, or no activation ever has a share worth drawing.
    """
    rows, shares = _stuck(run)
    most = most_stuck(run)
    if most is None or most < WORTH_DRAWING:
        return None
    broken = _broken(run, list(rows.sites))
    shares = np.where(broken, np.nan, shares)
    middle = over_steps(shares)
    across = columns(run, ~np.isnan(shares))
    cells = heatmap.Cells(rows, across, shares[across.positions], broken[across.positions], _share)
    worst = int(np.nanargmax(middle))
    return Picture(
        name="stuck",
        title=_stuck_title(rows.labels[worst], run.anatomy.sites[rows.sites[worst]].op, float(middle[worst])),
        caption="Share of each activation's inputs where its slope is under a twentieth of its steepest, so that hardly any "
        f"gradient passes. A ReLU is flat for every negative input: about a half is usual for it.{shown_note(rows, across)}",
        alternative=_alternative("saturated or zero share", rows, across, [_share(float(v)) for v in middle]),
        figure=heatmap.heatmap(cells, heatmap.Scale(SHARE, 0.0, 1.0, "share of inputs on flat ground"), ends=("input", "output")),
        table=heatmap.table(cells),
        keys=heatmap.keys(cells),
    )


def most_stuck(run: Run) -> float | None:
    """The largest share of any activation at any sampled step, or None where none was measured."""
    rows, shares = _stuck(run)
    shares = shares[~_broken(run, list(rows.sites)) & ~np.isnan(shares)]
    return float(shares.max()) if shares.size else None


def _stuck(run: Run) -> tuple[Ladder, Matrix]:
    flat, zero = measured(run, "saturated_fraction"), measured(run, "zero_fraction")
    raw = np.where(np.isnan(flat), zero, flat) if flat.shape == zero.shape else flat
    rows = ladder(run, ~np.isnan(raw), kind="activation")
    return rows, raw[:, list(rows.sites)]


def _broken(run: Run, sites: list[int]) -> NDArray[np.bool_]:
    """Where the output held NaN or infinite values; what else was measured there means nothing."""
    counts = measured(run, "nonfinite_count")
    return counts[:, sites] > 0 if counts.size else np.zeros((len(run.sampled), len(sites)), np.bool_)


def _spread_title(rows: Ladder, log10_std: NDArray[np.float64]) -> str:
    if np.isnan(log10_std).all():
        return "The signal is not a number"
    low, high = int(np.nanargmin(log10_std)), int(np.nanargmax(log10_std))
    weakest, strongest = f"{rows.labels[low]} ({_said(log10_std[low])})", f"{rows.labels[high]} ({_said(log10_std[high])})"
    return f"The signal is weakest at {weakest} and strongest at {strongest}"


def _spread_caption(run: Run, shown: str) -> str:
    said = "Standard deviation of each site's output. White is 1; blue is fainter, orange louder. The title gives medians."
    most = most_stuck(run)
    if most is not None and most < WORTH_DRAWING:
        said += f" No activation is flat for {'any' if not most else 'more than ' + _share(most)} of its inputs."
    return said + shown


def _stuck_title(label: str, op: str, share: float) -> str:
    return f"At {label}, the {op} is flat for {numbers.percent(share)} of its inputs: the most of all activations"


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
