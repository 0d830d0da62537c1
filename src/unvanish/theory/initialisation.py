"""The variances that keep a plain network critical, for a length that is asked for or for the network's own depth.

Length and gradient then neither fade nor grow, as far as an endless width goes. Nothing here sets a weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from unvanish.errors import UsageError
from unvanish.theory import maps
from unvanish.theory.criticality import NEUTRAL_BAND, SHORTEST, Scale, checked_length
from unvanish.theory.nonlinearity import Nonlinearity

# A relative deviation of the length may grow by so much over a critical network. Calibrated on simulated GELU networks of 50
# orthogonal layers and width 64: the gradient of single ones scatters by 0.1 decades at 1.35, 0.4 at 1.8, 0.9 at 3.
LARGEST_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class CriticalStart:
    """A critical initialisation: `scale` for every layer behind an activation, and the length `q` that it keeps."""

    q: float
    scale: Scale


def critical_scale(phi: Nonlinearity, *, q: float) -> Scale:
    """The variances for which `q` is the fixed length and chi is one: sw2 = 1 / E[phi'^2], sb2 = q - sw2 E[phi^2].

    Source: Schoenholz 2017. Raises UsageError where the bias would need a negative variance, so that no critical initialisation
    keeps that length: sigmoid below q = 50, softplus at any.
    """
    checked_length(q)
    sw2 = 1.0 / float(maps.slope_moment(q, phi))
    sb2 = q - sw2 * float(maps.second_moment(q, phi))
    if sb2 < -NEUTRAL_BAND * q:
        raise UsageError(
            f"no critical initialisation keeps signals of {phi.name} at length q = {q:g}: weights that keep the gradient lengthen "
            f"the signal, so the bias would need the variance {sb2:.3g}; take another activation, put a BatchNorm before this one, "
            "or shape it for the depth"
        )
    return Scale(sw2, max(sb2, 0.0))


def critical_start(phi: Nonlinearity, *, depth: int) -> CriticalStart:
    """The critical initialisation that suits an activation in a network of that many layers.

    Activations that keep every length (linear, ReLU, leaky ReLU) get q = 1. The others get q = 1 / depth, measured right for tanh
    from 50 to 10,000 layers, or the first of its halves at which deviations of the length grow by LARGEST_GROWTH at most over that
    depth (GELU and SiLU, whose critical length is unstable). Raises UsageError for a depth below one and as `critical_scale`
    does. Cost: about 2 ms.
    """
    if depth < 1:
        raise UsageError(f"a network of {depth} layers has no initialisation; give at least one layer")
    unit = Scale(1.0 / float(maps.slope_moment(1.0, phi)), 0.0)
    if abs(float(maps.length(1.0, phi, sw2=unit.sw2)) - 1.0) < NEUTRAL_BAND:
        return CriticalStart(1.0, critical_scale(phi, q=1.0))
    q = 1.0 / depth
    while q > SHORTEST:
        scale = critical_scale(phi, q=q)
        if depth * math.log(float(maps.length_slope(q, phi, sw2=scale.sw2))) <= math.log(LARGEST_GROWTH):
            return CriticalStart(q, scale)
        q /= 2.0
    raise UsageError(
        f"no length of signals is stable over {depth} layers of {phi.name}; take another activation or add residual sums"
    )


def first_scale(start: CriticalStart, *, q: float) -> Scale:
    """The variances of the first layer, which has no activation before it, for inputs of mean square `q`."""
    checked_length(q)
    return Scale((start.q - start.scale.sb2) / q, start.scale.sb2)
