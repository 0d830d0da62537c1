"""The gradient on its way from the loss to the input, as numbers: relative to the site nearest the loss, in decades.

It only divides and orders what was measured; whether the result is healthy is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unvanish.record.run import Matrix, Run
from unvanish.report.views.shown_rows import Ladder, ladder, measured, over_steps


@dataclass(frozen=True, slots=True)
class Gradient:
    """Gradient readings on the rows of a picture, each of shape (sampled steps, rows), rows from the input to the output.

    `log10_rms` is the gradient's size, `relative` its decades against the site nearest the loss in the same step and
    network. -inf is exactly zero, NaN not measured; where `broken`, the gradient held NaN or infinite values.
    """

    rows: Ladder
    networks: tuple[int, ...]
    log10_rms: Matrix
    relative: Matrix
    broken: NDArray[np.bool_]

    def profile(self) -> NDArray[np.float64]:
        """Decades of each row against the site nearest the loss: the median of the sampled steps, of shape (rows,)."""
        return over_steps(self.relative)

    def change(self) -> float:
        """Decades from the loss to the input, in the network where they are most; NaN where that was not measured."""
        profile = self.profile()
        firsts = [
            own[0]
            for network in set(self.networks)
            if (own := profile[(np.array(self.networks) == network) & ~np.isnan(profile)]).size
        ]
        return float(max(firsts, key=abs, default=np.nan))


def gradient(run: Run) -> Gradient | None:
    """The run's gradients, or None where they were measured at fewer than two sites."""
    values = measured(run, "log10_gradient_rms")
    counts = measured(run, "gradient_nonfinite")
    broken = (values == np.inf) | (counts > 0 if counts.shape == values.shape else False)
    rows = ladder(run, broken | ~np.isnan(values))
    if len(rows) < 2:
        return None
    sites = list(rows.sites)
    absolute = np.where(broken, np.nan, values)[:, sites]
    networks = tuple(run.anatomy.sites[i].network for i in sites)
    return Gradient(rows, networks, absolute, _relative(absolute, np.array(networks)), broken[:, sites])


def _relative(absolute: Matrix, networks: NDArray[np.int64]) -> Matrix:
    """Each row less the last row of its network. A step whose last row is zero or unknown has no relative value."""
    relative = np.full_like(absolute, np.nan)
    for network in np.unique(networks):
        own = np.flatnonzero(networks == network)
        reference = absolute[:, own[-1]]
        usable = np.isfinite(reference)
        relative[np.ix_(usable, own)] = absolute[np.ix_(usable, own)] - reference[usable, None]
    return relative
