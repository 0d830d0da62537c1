"""Computes the gradient at every site relative to the site nearest the loss, in decades, on the rows of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unvanish.record.run import Matrix, Run
from unvanish.report.views.row_selection import SiteRows, get_readings, reduce_over_steps, select_rows


@dataclass(frozen=True, slots=True)
class GradientByDepth:
    """Gradient readings on the rows of a picture, rows from the input to the output.

    Arguments:
        rows: the sites.
        networks: the index of the network of each row.
        log10_rms: log10 of the gradient's RMS, shape (sampled steps, rows); -inf is exactly zero, NaN not measured.
        relative: decades against the site nearest the loss in the same step and network, same shape.
        nonfinite: where the gradient held NaN or infinite values, same shape.
    """

    rows: SiteRows
    networks: tuple[int, ...]
    log10_rms: Matrix
    relative: Matrix
    nonfinite: NDArray[np.bool_]

    def median_profile(self) -> NDArray[np.float64]:
        """Decades of each row against the site nearest the loss: the median over the sampled steps, of shape (rows,)."""
        return reduce_over_steps(self.relative)

    def total_change(self) -> float:
        """Decades from the loss to the input, in the network where they are most; NaN where that was not measured."""
        profile = self.median_profile()
        at_input = [
            own[0]
            for network in set(self.networks)
            if (own := profile[(np.array(self.networks) == network) & ~np.isnan(profile)]).size
        ]
        return float(max(at_input, key=abs, default=np.nan))


def compute_gradient_by_depth(run: Run) -> GradientByDepth | None:
    """The run's gradients on the rows of a picture, or None where they were measured at fewer than two sites."""
    values = get_readings(run, "log10_gradient_rms")
    counts = get_readings(run, "gradient_nonfinite")
    nonfinite = (values == np.inf) | (counts > 0 if counts.shape == values.shape else False)
    rows = select_rows(run, nonfinite | ~np.isnan(values))
    if len(rows) < 2:
        return None
    sites = list(rows.sites)
    log10_rms = np.where(nonfinite, np.nan, values)[:, sites]
    networks = tuple(run.structure.sites[i].network for i in sites)
    return GradientByDepth(rows, networks, log10_rms, _relative(log10_rms, np.array(networks)), nonfinite[:, sites])


def _relative(log10_rms: Matrix, networks: NDArray[np.int64]) -> Matrix:
    """Each row minus the last row of its network, shape (steps, rows); NaN in steps where that last row is zero or not measured."""
    relative = np.full_like(log10_rms, np.nan)
    for network in np.unique(networks):
        own = np.flatnonzero(networks == network)
        reference = log10_rms[:, own[-1]]
        usable = np.isfinite(reference)
        relative[np.ix_(usable, own)] = log10_rms[np.ix_(usable, own)] - reference[usable, None]
    return relative
