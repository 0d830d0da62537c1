"""Finds the root of a function of one variable between two arguments at which it has opposite signs."""

from __future__ import annotations

from collections.abc import Callable

from scipy import optimize

RELATIVE_TOLERANCE = 1e-13  # quadrature is good to 1e-14
SMALLEST_TOLERANCE = 1e-22  # below 1e-13 times the smallest length and depth scale in use


def root_between(function: Callable[[float], float], low: float, high: float) -> float:
    """The root between `low` and `high`, where the function has opposite signs, to a relative 1e-13 (Brent 1973)."""
    ends = [low, high]
    return float(
        optimize.root_scalar(
            function, bracket=ends, method="brentq", xtol=SMALLEST_TOLERANCE, rtol=RELATIVE_TOLERANCE, maxiter=500
        ).root
    )
