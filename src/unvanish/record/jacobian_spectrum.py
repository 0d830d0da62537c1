"""The singular values of a network's Jacobian, or an estimate of how they are distributed, as plain data.

All logarithms are log10: a singular value of -6 means that a millionth of a perturbation of the input, in that direction, arrives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JacobianSpectrum:
    """The min(rows, columns) singular values of the Jacobian of `layer`'s output ("": the network's own) by the network's input.

    `density` holds (log10 of a singular value, weight) in ascending order, weights adding up to 1: every singular value with the
    same weight where `exact`, else the nodes of a quadrature. What is not above `log10_floor`, the rounding error of the largest,
    cannot be told from zero, and is -inf. `mean_log10` is the mean over all singular values, -inf where any is zero.

    Where not `exact`, the largest value is a lower bound and the smallest an upper bound until converged. `mean_standard_error`
    is of the probes and of the quadrature's last steps; a mean that has not converged is too high, by more than that. `dtype` is
    the precision of the products.
    """

    layer: str
    rows: int
    columns: int
    exact: bool
    dtype: str
    log10_largest: float
    log10_smallest: float
    mean_log10: float
    log10_floor: float
    density: tuple[tuple[float, float], ...]
    mean_standard_error: float = 0.0
    largest_converged: bool = True
    smallest_converged: bool = True
    mean_converged: bool = True

    @property
    def zero_share(self) -> float:
        """The share of singular values that are zero, 0 to 1."""
        return math.fsum(weight for log10, weight in self.density if log10 == -math.inf)

    @property
    def mean_log10_nonzero(self) -> float:
        """The mean of log10 over the singular values that are not zero; -inf where all are."""
        weight = math.fsum(weight for log10, weight in self.density if log10 > -math.inf)
        return math.fsum(log10 * w for log10, w in self.density if log10 > -math.inf) / weight if weight else -math.inf

    @property
    def log10_rms(self) -> float:
        """log10 of the root mean square singular value; its square is mean-field theory's chi, multiplied over the layers."""
        if self.log10_largest == -math.inf:
            return -math.inf
        squares = math.fsum(weight * 10.0 ** (2.0 * (log10 - self.log10_largest)) for log10, weight in self.density)
        return self.log10_largest + 0.5 * math.log10(squares)

    @property
    def log10_condition(self) -> float:
        """log10 of the largest over the smallest singular value; inf where the smallest is zero, NaN where all are."""
        return self.log10_largest - self.log10_smallest if self.log10_largest > -math.inf else math.nan
