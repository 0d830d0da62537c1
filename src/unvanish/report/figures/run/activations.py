"""Builds the heat maps of the activations: standard deviation of every output, and share of inputs on flat ground or at zero."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from unvanish.record.run import Matrix, Run
from unvanish.report.figures import heatmap
from unvanish.report.figures.palette import DIVERGING, SHARE
from unvanish.report.figures.picture import Picture
from unvanish.report.views.row_selection import (
    SiteRows,
    StepColumns,
    describe_selection,
    get_readings,
    reduce_over_steps,
    select_columns,
    select_rows,
)
from unvanish.report.wording import numbers

MIN_SHARE = 0.05  # below this share everywhere the picture would be empty, and a sentence replaces it


def build_activation_std_picture(run: Run) -> Picture | None:
    """The standard deviation of every site's output, in decades against 1; None where it was measured at fewer than two sites."""
    raw = get_readings(run, "activation_std")
    rows = select_rows(run, ~np.isnan(raw))
    if len(rows) < 2:
        return None
    sites = list(rows.sites)
    nonfinite = _find_nonfinite(run, sites)
    with np.errstate(divide="ignore"):
        logs = np.log10(np.where(nonfinite | (raw[:, sites] == np.inf), np.nan, raw[:, sites]))
    medians = reduce_over_steps(logs)
    columns = select_columns(run, ~np.isnan(logs))
    cells = heatmap.HeatmapCells(rows, columns, logs[columns.indices], nonfinite[columns.indices], _format_log10_std)
    scale = heatmap.build_symmetric_scale(cells.values, DIVERGING, "log10 of the standard deviation")
    return Picture(
        name="spread",
        title=_std_title(rows, medians),
        caption=_std_caption(run, describe_selection(rows, columns)),
        text_alternative=_alternative(
            "standard deviation of the outputs", rows, columns, [_format_log10_std(float(v)) for v in medians]
        ),
        figure=heatmap.draw_heatmap(cells, scale, ends=("input", "output")),
        table=heatmap.build_table(cells),
        legend=heatmap.build_legend(cells),
    )


def build_flat_share_picture(run: Run) -> Picture | None:
    """The share of every activation's inputs where it is flat, or of its outputs that are zero.

    None where neither was measured, or where no activation's share ever reaches MIN_SHARE.
    """
    rows, shares = _get_flat_shares(run)
    largest = find_largest_flat_share(run)
    if largest is None or largest < MIN_SHARE:
        return None
    nonfinite = _find_nonfinite(run, list(rows.sites))
    shares = np.where(nonfinite, np.nan, shares)
    medians = reduce_over_steps(shares)
    columns = select_columns(run, ~np.isnan(shares))
    selection_note = describe_selection(rows, columns)
    cells = heatmap.HeatmapCells(rows, columns, shares[columns.indices], nonfinite[columns.indices], _format_share)
    highest = int(np.nanargmax(medians))
    return Picture(
        name="stuck",
        title=_flat_share_title(rows.labels[highest], run.structure.sites[rows.sites[highest]].op, float(medians[highest])),
        caption="Share of each activation's inputs where its slope is under a twentieth of its steepest, so that hardly any "
        f"gradient passes. A ReLU is flat for every negative input: about a half is usual for it.{selection_note}",
        text_alternative=_alternative("saturated or zero share", rows, columns, [_format_share(float(v)) for v in medians]),
        figure=heatmap.draw_heatmap(
            cells, heatmap.ColourScale(SHARE, 0.0, 1.0, "share of inputs on flat ground"), ends=("input", "output")
        ),
        table=heatmap.build_table(cells),
        legend=heatmap.build_legend(cells),
    )


def find_largest_flat_share(run: Run) -> float | None:
    """The largest share of any activation at any sampled step, or None where none was measured."""
    rows, shares = _get_flat_shares(run)
    shares = shares[~_find_nonfinite(run, list(rows.sites)) & ~np.isnan(shares)]
    return float(shares.max()) if shares.size else None


def _get_flat_shares(run: Run) -> tuple[SiteRows, Matrix]:
    flat, zero = get_readings(run, "saturated_fraction"), get_readings(run, "zero_fraction")
    raw = np.where(np.isnan(flat), zero, flat) if flat.shape == zero.shape else flat
    rows = select_rows(run, ~np.isnan(raw), kind="activation")
    return rows, raw[:, list(rows.sites)]


def _find_nonfinite(run: Run, sites: list[int]) -> NDArray[np.bool_]:
    """Where the output held NaN or infinite values, so that other readings mean nothing; bool of shape (sampled steps, sites)."""
    counts = get_readings(run, "nonfinite_count")
    return counts[:, sites] > 0 if counts.size else np.zeros((len(run.sampled), len(sites)), np.bool_)


def _std_title(rows: SiteRows, log10_std: NDArray[np.float64]) -> str:
    if np.isnan(log10_std).all():
        return "The signal is not a number"
    low, high = int(np.nanargmin(log10_std)), int(np.nanargmax(log10_std))
    weakest, strongest = (
        f"{rows.labels[low]} ({_format_log10_std(log10_std[low])})",
        f"{rows.labels[high]} ({_format_log10_std(log10_std[high])})",
    )
    return f"The signal is weakest at {weakest} and strongest at {strongest}"


def _std_caption(run: Run, selection_note: str) -> str:
    caption = "Standard deviation of each site's output. White is 1; blue is fainter, orange louder. The title gives medians."
    largest = find_largest_flat_share(run)
    if largest is not None and largest < MIN_SHARE:
        caption += f" No activation is flat for {'any' if not largest else 'more than ' + _format_share(largest)} of its inputs."
    return caption + selection_note


def _flat_share_title(label: str, op: str, share: float) -> str:
    return f"At {label}, the {op} is flat for {numbers.format_percent(share)} of its inputs: the most of all activations"


def _format_log10_std(log10: float) -> str:
    if math.isnan(log10):
        return "not measured"
    return "0" if log10 == -math.inf else numbers.format_number(10**log10, 2)


def _format_share(value: float) -> str:
    return "not measured" if math.isnan(value) else numbers.format_percent(value)


def _alternative(quantity: str, rows: SiteRows, columns: StepColumns, texts: list[str]) -> str:
    samples = np.unique(np.linspace(0, len(rows) - 1, 5).round().astype(int))
    values = ", ".join(f"{rows.labels[i]} {texts[i]}" for i in samples)
    return (
        f"Heat map: {quantity}, {numbers.pluralise(len(rows), 'site')}, {numbers.pluralise(len(columns.steps), 'sampled step')} "
        f"from {columns.steps[0]:,} to {columns.steps[-1]:,}. Medians from the input to the output: {values}."
    )
