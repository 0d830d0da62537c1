"""Computes the variances of weights and biases that keep a plain network critical, for a length or for the network's depth.

In a network of infinite width, length and gradient then neither decay nor grow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from unvanish.errors import UsageError
from unvanish.theory import mean_field_maps
from unvanish.theory.criticality import NEUTRAL_BAND, SHORTEST, Scale, check_length
from unvanish.theory.nonlinearity import Nonlinearity

# The largest growth of a relative deviation of the length over a critical network. Calibrated on simulated GELU networks of 50
# orthogonal layers and width 64: the gradient of single ones scatters by 0.1 decades at 1.35, 0.4 at 1.8, 0.9 at 3.
LARGEST_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class CriticalInitialisation:
    """A critical initialisation: `scale` for every layer after an activation, and the length `q` that it keeps."""

    q: float
    scale: Scale


def critical_scale(phi: Nonlinearity, *, q: float) -> Scale:
    """The variances for which `q` is the fixed length and chi is one: sw2 = 1 / E[phi'^2], sb2 = q - sw2 E[phi^2].

    Source: Schoenholz 2017.

    Arguments:
        phi: The activation.
        q: The length to keep, the mean square of a layer's pre-activations.

    Raises:
        UsageError: The bias would need a negative variance, so that no critical initialisation keeps that length: sigmoid below
            q = 50, softplus at any. Or `q` is not positive.

    Example:
        >>> from unvanish.theory.nonlinearity import nonlinearity
        >>> he = critical_scale(nonlinearity("relu"), q=1.0)
        >>> round(he.sw2, 12), round(he.sb2, 12)
        (2.0, 0.0)
    """
    check_length(q)
    sw2 = 1.0 / float(mean_field_maps.slope_moment(q, phi))
    sb2 = q - sw2 * float(mean_field_maps.second_moment(q, phi))
    if sb2 < -NEUTRAL_BAND * q:
        raise UsageError(
            f"no critical initialisation keeps signals of {phi.name} at length q = {q:g}: weights that keep the gradient lengthen "
            f"the signal, so the bias would need the variance {sb2:.3g}; take another activation, put a BatchNorm before this one, "
            "or shape it for the depth"
        )
    return Scale(sw2, max(sb2, 0.0))


def critical_initialisation(phi: Nonlinearity, *, depth: int) -> CriticalInitialisation:
    """The critical initialisation for an activation in a network of `depth` layers. Cost: about 2 ms.

    Activations that keep every length (linear, ReLU, leaky ReLU) get q = 1. The others get q = 1 / depth, measured right for tanh
    from 50 to 10,000 layers, or the first of its halves at which deviations of the length grow by LARGEST_GROWTH at most over that
    depth (GELU and SiLU, whose critical length is unstable).

    Raises:
        UsageError: `depth` is below one, or as in `critical_scale`.

    Example:
        >>> from unvanish.theory.nonlinearity import nonlinearity
        >>> critical_initialisation(nonlinearity("tanh"), depth=50).q
        0.02
    """
    if depth < 1:
        raise UsageError(f"a network of {depth} layers has no initialisation; give at least one layer")
    unit = Scale(1.0 / float(mean_field_maps.slope_moment(1.0, phi)), 0.0)
    if abs(float(mean_field_maps.length(1.0, phi, sw2=unit.sw2)) - 1.0) < NEUTRAL_BAND:
        return CriticalInitialisation(1.0, critical_scale(phi, q=1.0))
    q = 1.0 / depth
    while q > SHORTEST:
        scale = critical_scale(phi, q=q)
        if depth * math.log(float(mean_field_maps.length_slope(q, phi, sw2=scale.sw2))) <= math.log(LARGEST_GROWTH):
            return CriticalInitialisation(q, scale)
        q /= 2.0
    raise UsageError(
        f"no length of signals is stable over {depth} layers of {phi.name}; take another activation or add residual sums"
    )


def first_layer_scale(start: CriticalInitialisation, *, q: float) -> Scale:
    """The variances of the first layer, which has no activation before it, for inputs of mean square `q`."""
    check_length(q)
    return Scale((start.q - start.scale.sb2) / q, start.scale.sb2)
