"""Computes the fixed point of signals and gradients in a plain network of infinite depth and width, its phase and depth scales.

Symbols as in `maps`. In the ordered phase nearby inputs converge and gradients vanish, in the chaotic phase inputs diverge and
gradients explode; the critical phase lies between. A length map that amplifies small deviations has no fixed point here and is
called unstable. Networks of finite depth and width are the subject of `decades`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from unvanish.errors import UsageError
from unvanish.theory import mean_field_maps
from unvanish.theory.gaussian import FloatArray
from unvanish.theory.nonlinearity import Nonlinearity
from unvanish.theory.root_finding import root_between

TRAINABLE_DEPTHS_OF_XI = 6.0  # Schoenholz 2017, arXiv 1611.01232: trainable up to about 6 xi_c
CRITICAL_BAND = 1e-6  # |chi - 1| below which a depth scale exceeds a million layers
NEUTRAL_BAND = 1e-9  # relative change of length a layer that counts as none; quadrature is good to 1e-14
ROUNDING = 1e-13  # relative change of length that is rounding of the quadrature
SHORTEST, LONGEST = 1e-8, 1e14  # range of lengths; at either end chi is within 1e-7 of its limit for the whole catalogue
SCAN_POINTS = 221  # ten a decade over those twenty-two
HORIZON = 300  # layers over which deviations of the length are followed
NEAR_ONE = 1e-7  # the largest c below the trivial fixed point c = 1 that is tried

# A relative deviation of the length that at least doubles makes a prediction worthless. Calibrated against simulated
# networks of width 64, 60 for each of 126 cases (the catalogue; default, Glorot and He; depth 10, 30, 50): growth up to 1.73
# predicts the mean within 0.1 decades; 2.4 and more misses it by up to 0.4, and single networks scatter by up to 1.5. The one
# stable exception is named in `decades`.
UNSTABLE_GROWTH = 2.0


class Phase(StrEnum):
    """The phase of a network of infinite depth: chi below, at, or above one."""

    ORDERED = "ordered"
    CRITICAL = "critical"
    CHAOTIC = "chaotic"


class LengthMap(StrEnum):
    """What the length does: converges, stays constant, grows without bound, or amplifies its own deviations."""

    STABLE = "stable"
    NEUTRAL = "neutral"
    DIVERGING = "diverging"
    UNSTABLE = "unstable"


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """The fixed point of a network of infinite depth.

    Arguments:
        q: The length; 0 or infinite where it decays or grows without bound. The rest is then taken at a length of 1e-8 or 1e14.
        c: The correlation of two inputs, 0 to 1.
        chi: The mean squared gain of the gradient in one layer.
        phase: Ordered, critical or chaotic, by `chi`.
        xi_q: Depth scale of the length in layers, infinite where it does not converge exponentially. So for the other two:
        xi_c: Depth scale of the correlation.
        xi_grad: Depth scale of the gradient.
    """

    q: float
    c: float
    chi: float
    phase: Phase
    xi_q: float
    xi_c: float
    xi_grad: float

    @property
    def trainable_depth(self) -> float:
        """Layers up to which such a network trains, about 6 xi_c (Schoenholz 2017; right in 21 of 24 cells for tanh)."""
        return TRAINABLE_DEPTHS_OF_XI * self.xi_c


@dataclass(frozen=True, slots=True)
class Criticality:
    """What the length does, and the fixed point; None where the length map is unstable, since nothing converges then."""

    length_map: LengthMap
    fixed_point: FixedPoint | None


@dataclass(frozen=True, slots=True)
class Scale:
    """Variances of an initialisation: `sw2` is fan_in times the variance of a weight, `sb2` that of a bias."""

    sw2: float
    sb2: float


def criticality(phi: Nonlinearity, scale: Scale, *, q: float = 1.0) -> Criticality:
    """The fixed point to which signals of length `q` converge, its phase and its depth scales. Cost: 10 to 200 ms.

    Arguments:
        phi: The activation.
        scale: The variances of weights and biases, the same in every layer.
        q: The mean square of the first layer's pre-activations.

    Raises:
        UsageError: `q` is not positive, or a variance is negative or not finite.

    Example:
        >>> from unvanish.theory.nonlinearity import nonlinearity
        >>> default = criticality(nonlinearity("tanh"), Scale(sw2=1 / 3, sb2=0.0)).fixed_point
        >>> default.phase, round(default.chi, 6), round(default.trainable_depth, 2)
        (<Phase.ORDERED: 'ordered'>, 0.333333, 5.46)
        >>> criticality(nonlinearity("gelu"), Scale(sw2=2.0, sb2=0.0)).length_map
        <LengthMap.UNSTABLE: 'unstable'>
    """
    _check_scale(scale)
    check_length(q)
    if max_growth(*_iterate_length_map(phi, scale, q)) > UNSTABLE_GROWTH:
        return Criticality(LengthMap.UNSTABLE, None)
    length_map, fixed_length = _fixed_length(phi, scale, q)
    clipped = min(max(fixed_length, SHORTEST), LONGEST)
    chi = float(mean_field_maps.gain(clipped, phi, sw2=scale.sw2))
    c, slope = _fixed_correlation(phi, scale, q=clipped, chi=chi)
    return Criticality(
        length_map,
        FixedPoint(
            q=fixed_length,
            c=c,
            chi=chi,
            phase=_phase(chi),
            xi_q=_depth_scale(float(mean_field_maps.length_slope(clipped, phi, sw2=scale.sw2))),
            xi_c=_depth_scale(slope),
            xi_grad=_depth_scale(chi),
        ),
    )


def max_growth(lengths: FloatArray, elasticities: FloatArray) -> float:
    """The largest factor by which a relative deviation of the length grows over consecutive layers, at least one.

    `elasticities` are d ln Q / d ln q at `lengths`, both of shape (layers,). Layers of length zero are left out.
    """
    worst = current = 0.0
    for elasticity in elasticities[lengths > 0.0]:
        current = max(current + math.log(max(float(elasticity), np.finfo(np.float64).tiny)), 0.0)
        worst = max(worst, current)
    return math.exp(worst)


def elasticity(q: float, phi: Nonlinearity, *, sw2: float, next_length: float) -> float:
    """The elasticity d ln Q / d ln q = q Q'(q) / Q(q), where `next_length` is Q(q); zero where the length is zero."""
    return q * float(mean_field_maps.length_slope(q, phi, sw2=sw2)) / next_length if q > 0.0 and next_length > 0.0 else 0.0


def _iterate_length_map(phi: Nonlinearity, scale: Scale, q: float) -> tuple[FloatArray, FloatArray]:
    """Lengths of up to HORIZON layers and the elasticity of the length map at each, until the length is constant."""
    lengths: list[float] = []
    elasticities: list[float] = []
    while len(lengths) < HORIZON and SHORTEST < q < LONGEST:
        next_length = float(mean_field_maps.length(q, phi, sw2=scale.sw2, sb2=scale.sb2))
        lengths.append(q)
        elasticities.append(elasticity(q, phi, sw2=scale.sw2, next_length=next_length))
        if abs(next_length / q - 1.0) < NEUTRAL_BAND and elasticities[-1] <= 1.0 + CRITICAL_BAND:
            break
        q = next_length
    return np.array(lengths), np.array(elasticities)


def _fixed_length(phi: Nonlinearity, scale: Scale, q: float) -> tuple[LengthMap, float]:
    """What the length does, and the first fixed point of the length map in the direction in which `q` moves.

    The map is monotone for every activation of the catalogue, so no signal passes a fixed point.
    """
    drift = float(mean_field_maps.length(q, phi, sw2=scale.sw2, sb2=scale.sb2)) / q - 1.0
    if abs(drift) < NEUTRAL_BAND:
        neutral = abs(float(mean_field_maps.length_slope(q, phi, sw2=scale.sw2)) - 1.0) < CRITICAL_BAND
        return (LengthMap.NEUTRAL if neutral else LengthMap.STABLE), q
    grid = np.geomspace(SHORTEST, LONGEST, SCAN_POINTS)
    candidates = np.concatenate([[q], grid[grid > q] if drift > 0.0 else grid[grid < q][::-1]])
    drifts = np.asarray(mean_field_maps.length(candidates, phi, sw2=scale.sw2, sb2=scale.sb2)) / candidates - 1.0
    crossings = np.flatnonzero(drifts * drift <= 0.0)
    unbounded = (LengthMap.DIVERGING, math.inf) if drift > 0.0 else (LengthMap.STABLE, 0.0)
    if len(crossings) == 0:
        return unbounded
    for index in (crossings[0] - 1, crossings[0]):
        if abs(drifts[index]) < ROUNDING:
            # A drift below rounding: the length goes on decaying or growing where the map is linear, and is fixed elsewhere.
            is_linear = abs(float(mean_field_maps.length_slope(candidates[index], phi, sw2=scale.sw2)) - 1.0) < CRITICAL_BAND
            return unbounded if is_linear else (LengthMap.STABLE, float(candidates[index]))

    def drift_at(length: float) -> float:
        return float(mean_field_maps.length(length, phi, sw2=scale.sw2, sb2=scale.sb2)) / length - 1.0

    return LengthMap.STABLE, root_between(drift_at, float(candidates[crossings[0] - 1]), float(candidates[crossings[0]]))


def _fixed_correlation(phi: Nonlinearity, scale: Scale, *, q: float, chi: float) -> tuple[float, float]:
    """The stable fixed point c* in [0, 1] and sw2 E[phi'(u1) phi'(u2)] there.

    On [0, 1] the map is a power series with positive coefficients and C(1) = 1, hence convex: below one it has a second
    fixed point exactly when its slope at one exceeds one.
    """
    if chi <= 1.0 + CRITICAL_BAND:
        return 1.0, chi

    def drift_at(c: float) -> float:
        return float(mean_field_maps.correlation(c, phi, q=q, sw2=scale.sw2, sb2=scale.sb2)) - c

    if drift_at(1.0 - NEAR_ONE) >= 0.0:
        return 1.0, chi
    c = root_between(drift_at, 0.0, 1.0 - NEAR_ONE) if drift_at(0.0) > 0.0 else 0.0
    length_ratio = float(mean_field_maps.length(q, phi, sw2=scale.sw2, sb2=scale.sb2)) / q
    return c, float(mean_field_maps.correlation_slope(c, phi, q=q, sw2=scale.sw2, sb2=scale.sb2)) * length_ratio


def _phase(chi: float) -> Phase:
    """Ordered, critical or chaotic, by the gain of the gradient."""
    if abs(chi - 1.0) <= CRITICAL_BAND:
        return Phase.CRITICAL
    return Phase.ORDERED if chi < 1.0 else Phase.CHAOTIC


def _depth_scale(factor: float) -> float:
    """1 / |ln factor|: the number of layers over which a quantity changes e-fold that every layer multiplies by `factor`."""
    if abs(factor - 1.0) <= CRITICAL_BAND:
        return math.inf
    return 1.0 / abs(math.log(factor)) if factor > 0.0 else 0.0


def check_length(q: float) -> float:
    """`q` itself. Raises UsageError where it is not a positive, finite number."""
    if not (math.isfinite(q) and q > 0.0):
        raise UsageError(f"the length q is {q}; give the mean square of a layer's input, a positive number")
    return q


def _check_scale(scale: Scale) -> None:
    """Raises UsageError for a variance that is negative or not finite."""
    for name, value in (("sw2", scale.sw2), ("sb2", scale.sb2)):
        if not (math.isfinite(value) and value >= 0.0):
            raise UsageError(f"the variance {name} is {value}; give a finite number that is not negative")
