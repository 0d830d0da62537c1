"""Computes the three maps of mean-field theory for one plain layer: length, correlation, and gain of the gradient.

The layer is h' = W phi(h) + b with W_ij ~ N(0, sw2 / fan_in) and b_i ~ N(0, sb2) (Poole 2016, arXiv 1606.05340; Schoenholz 2017,
arXiv 1611.01232). `q` is the mean square of h ("length"), `c` the correlation of the h of two inputs of equal length, and z is
standard normal. The maps hold for infinite width; `kurtosis` enters the corrections for finite width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from unvanish.theory.gaussian import FloatArray, expectation, nodes, pair_expectation
from unvanish.theory.nonlinearity import Nonlinearity


def mean(q: ArrayLike, phi: Nonlinearity) -> FloatArray:
    """E[phi(sqrt(q) z)], in the shape of `q`."""
    return expectation(phi.function, np.sqrt(q), kinks=phi.kinks)


def second_moment(q: ArrayLike, phi: Nonlinearity) -> FloatArray:
    """E[phi(sqrt(q) z)^2], in the shape of `q`."""
    return expectation(lambda h: phi.function(h) ** 2, np.sqrt(q), kinks=phi.kinks)


def slope_moment(q: ArrayLike, phi: Nonlinearity) -> FloatArray:
    """E[phi'(sqrt(q) z)^2], in the shape of `q`."""
    return expectation(lambda h: phi.derivative(h) ** 2, np.sqrt(q), kinks=phi.kinks)


def length(q: ArrayLike, phi: Nonlinearity, *, sw2: float, sb2: float = 0.0) -> FloatArray:
    """Q(q) = sw2 E[phi(sqrt(q) z)^2] + sb2, in the shape of `q` (Schoenholz 2017)."""
    return sw2 * second_moment(q, phi) + sb2


def length_slope(q: ArrayLike, phi: Nonlinearity, *, sw2: float) -> FloatArray:
    """Q'(q) = sw2 E[phi phi' z] / sqrt(q), in the shape of `q`; `q` must be above zero.

    By Stein's lemma this is sw2 E[phi'^2 + phi phi''] (Schoenholz 2017), without the second derivative.
    """
    std = np.sqrt(np.asarray(q, dtype=np.float64))
    z, weights = nodes(std, kinks=phi.kinks)
    h = std[..., None] * z
    return sw2 * np.sum(weights * phi.function(h) * phi.derivative(h) * z, axis=-1) / std


def gain(q: ArrayLike, phi: Nonlinearity, *, sw2: float) -> FloatArray:
    """The gain chi = sw2 E[phi'(sqrt(q) z)^2], mean squared over a layer (Schoenholz 2017)."""
    return sw2 * slope_moment(q, phi)


def kurtosis(q: ArrayLike, phi: Nonlinearity) -> FloatArray:
    """The ratio kappa = E[phi'^4] / E[phi'^2]^2, at least one: how unevenly the gradient is spread over the units of a layer."""
    fourth = expectation(lambda h: phi.derivative(h) ** 4, np.sqrt(q), kinks=phi.kinks)
    return fourth / slope_moment(q, phi) ** 2


def correlation(c: ArrayLike, phi: Nonlinearity, *, q: ArrayLike, sw2: float, sb2: float = 0.0) -> FloatArray:
    """C(c) = (sw2 E[phi(u1) phi(u2)] + sb2) / Q(q) for inputs of one length, so that C(1) = 1 at any `q`.

    u1, u2 are centred Gaussians of variance q and correlation c. Shapes: the broadcast shape of `c` and `q`. Cost: about 7 ms an
    element. Source: Schoenholz 2017, there at the fixed point, where Q(q) = q.
    """
    together = pair_expectation(phi.function, np.sqrt(q), correlation=c, kinks=phi.kinks)
    return (sw2 * together + sb2) / length(q, phi, sw2=sw2, sb2=sb2)


def correlation_slope(c: ArrayLike, phi: Nonlinearity, *, q: ArrayLike, sw2: float, sb2: float = 0.0) -> FloatArray:
    """dC/dc = sw2 (q / Q(q)) E[phi'(u1) phi'(u2)]; at c = 1 and the fixed point of the length map it is chi.

    Shapes, cost and symbols as in `correlation` (Schoenholz 2017).
    """
    together = pair_expectation(phi.derivative, np.sqrt(q), correlation=c, kinks=phi.kinks)
    return sw2 * together * np.asarray(q, dtype=np.float64) / length(q, phi, sw2=sw2, sb2=sb2)
