"""The catalogue of activations with further settings, and an independent adaptive quadrature, for the tests of the theory."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import integrate

from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity, nonlinearity_names

CATALOGUE = (*map(nonlinearity, nonlinearity_names()), nonlinearity("leaky-relu", slope=0.3), nonlinearity("elu", alpha=0.5))
LENGTHS = (1e-4, 0.3, 1.0, 9.0, 400.0)


def label(phi: Nonlinearity) -> str:
    return phi.name + "".join(f"-{value:g}" for _, value in phi.settings)


def adaptive_expectation(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], std: float) -> float:
    """E[f(std z)] by adaptive quadrature on many short pieces, as a second oracle."""
    places = [side * place / std for place in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, 40.0) for side in (-1.0, 1.0)]
    cuts = sorted({place for place in [*places, *np.arange(-9.0, 9.5)] if abs(place) <= 9.0})

    def weighted(z: float) -> float:
        return float(function(np.asarray(std * z))) * np.exp(-z * z / 2.0) / np.sqrt(2.0 * np.pi)

    return sum(integrate.quad(weighted, low, high, epsabs=1e-300, epsrel=1e-12)[0] for low, high in pairwise(cuts))
