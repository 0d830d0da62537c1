"""Where signals and gradients of an endless plain network settle, and how many layers that takes.

Symbols as in `maps`. Ordered: nearby inputs merge and gradients vanish; chaotic: they part and gradients explode; critical
lies between. A length map that blows small deviations up has no number here: it is called unstable. Nothing here knows
a network of finite depth or width: that is `decades`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from unvanish.errors import UsageError
from unvanish.theory import maps
from unvanish.theory.gaussian import FloatArray
from unvanish.theory.nonlinearity import Nonlinearity
from unvanish.theory.roots import root_between

TRAINABLE_DEPTHS_OF_XI = 6.0  # Schoenholz 2017, arXiv 1611.01232: trainable up to about 6 xi_c
CRITICAL_BAND = 1e-6  # |chi - 1| below which a depth scale exceeds a million layers
NEUTRAL_BAND = 1e-9  # relative change of length a layer that counts as none; quadrature is good to 1e-14
ROUNDING = 1e-13  # relative change of length that is rounding of the quadrature
SHORTEST, LONGEST = 1e-8, 1e14  # lengths looked at; at either end chi is within 1e-7 of its limit for the whole catalogue
SCAN_POINTS = 221  # ten a decade over those twenty-two
HORIZON = 300  # layers over which deviations of the length are followed
NEAR_ONE = 1e-7  # the largest c below the trivial fixed point c = 1 that is tried

# A relative deviation of the length that at least doubles on its way makes a prediction worthless. Calibrated against simulated
# networks of width 64, 60 for each of 126 cases (the catalogue; default, Glorot and He; depth 10, 30, 50): growth up to 1.73
# predicts the mean within 0.1 decades; 2.4 and more misses it by up to 0.4, and single networks scatter by up to 1.5. The one
# stable exception is named in `decades`.
UNSTABLE_GROWTH = 2.0


class Phase(StrEnum):
    """Which way an endless network goes: chi below, at, or above one."""

    ORDERED = "ordered"
    CRITICAL = "critical"
    CHAOTIC = "chaotic"


class LengthMap(StrEnum):
    """What the length does: settles, stays as it is, grows without end, or follows its own deviations."""

    STABLE = "stable"
    NEUTRAL = "neutral"
    DIVERGING = "diverging"
    UNSTABLE = "unstable"


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Where an endless network settles. Depth scales are in layers, never negative, infinite where chi is one.

    `q` is 0 or infinite where the length dies out or grows without end; the rest is then taken at 1e-8 or 1e14.
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
    """What becomes of the length, and the fixed point; None where the length map is unstable, for then nothing settles."""

    length_map: LengthMap
    fixed_point: FixedPoint | None


@dataclass(frozen=True, slots=True)
class Scale:
    """Variances of an initialisation: `sw2` is fan_in times the variance of a weight, `sb2` that of a bias."""

    sw2: float
    sb2: float


def criticality(phi: Nonlinearity, scale: Scale, *, q: float = 1.0) -> Criticality:
    """The fixed point that signals of length `q` run to, its phase and its depth scales.

    Raises UsageError for a `q` that is not positive or a negative variance. Cost: 10 to 200 ms.
    """
    _refuse(scale)
    checked_length(q)
    if growth(*_track(phi, scale, q)) > UNSTABLE_GROWTH:
        return Criticality(LengthMap.UNSTABLE, None)
    kind, settled = _settled_length(phi, scale, q)
    at = min(max(settled, SHORTEST), LONGEST)
    chi = float(maps.gain(at, phi, sw2=scale.sw2))
    c, slope = _settled_correlation(phi, scale, q=at, chi=chi)
    return Criticality(
        kind,
        FixedPoint(
            q=settled,
            c=c,
            chi=chi,
            phase=_phase(chi),
            xi_q=_depth_scale(float(maps.length_slope(at, phi, sw2=scale.sw2))),
            xi_c=_depth_scale(slope),
            xi_grad=_depth_scale(chi),
        ),
    )


def growth(lengths: FloatArray, elasticities: FloatArray) -> float:
    """The largest factor by which a relative deviation of the length grows over some stretch of layers, at least one.

    `elasticities` are d ln Q / d ln q at `lengths`, one a layer in order. A stretch ends before a length of zero.
    """
    worst = current = 0.0
    for elasticity in elasticities[lengths > 0.0]:
        current = max(current + math.log(max(float(elasticity), np.finfo(np.float64).tiny)), 0.0)
        worst = max(worst, current)
    return math.exp(worst)


def elasticity(q: float, phi: Nonlinearity, *, sw2: float, following: float) -> float:
    """The elasticity d ln Q / d ln q = q Q'(q) / Q(q), where `following` is Q(q); zero where the length is zero."""
    return q * float(maps.length_slope(q, phi, sw2=sw2)) / following if q > 0.0 and following > 0.0 else 0.0


def _track(phi: Nonlinearity, scale: Scale, q: float) -> tuple[FloatArray, FloatArray]:
    """Lengths of up to HORIZON layers and the elasticity of the length map at each; it ends where the length rests."""
    lengths: list[float] = []
    elasticities: list[float] = []
    while len(lengths) < HORIZON and SHORTEST < q < LONGEST:
        following = float(maps.length(q, phi, sw2=scale.sw2, sb2=scale.sb2))
        lengths.append(q)
        elasticities.append(elasticity(q, phi, sw2=scale.sw2, following=following))
        if abs(following / q - 1.0) < NEUTRAL_BAND and elasticities[-1] <= 1.0 + CRITICAL_BAND:
            break
        q = following
    return np.array(lengths), np.array(elasticities)


def _settled_length(phi: Nonlinearity, scale: Scale, q: float) -> tuple[LengthMap, float]:
    """The first fixed point of the length map on the side to which `q` moves.

    The map is monotone for every activation of the catalogue, so no signal passes a fixed point.
    """
    drift = float(maps.length(q, phi, sw2=scale.sw2, sb2=scale.sb2)) / q - 1.0
    if abs(drift) < NEUTRAL_BAND:
        neutral = abs(float(maps.length_slope(q, phi, sw2=scale.sw2)) - 1.0) < CRITICAL_BAND
        return (LengthMap.NEUTRAL if neutral else LengthMap.STABLE), q
    grid = np.geomspace(SHORTEST, LONGEST, SCAN_POINTS)
    ahead = np.concatenate([[q], grid[grid > q] if drift > 0.0 else grid[grid < q][::-1]])
    moves = np.asarray(maps.length(ahead, phi, sw2=scale.sw2, sb2=scale.sb2)) / ahead - 1.0
    turned = np.flatnonzero(moves * drift <= 0.0)
    without_end = (LengthMap.DIVERGING, math.inf) if drift > 0.0 else (LengthMap.STABLE, 0.0)
    if len(turned) == 0:
        return without_end
    for index in (turned[0] - 1, turned[0]):
        if abs(moves[index]) < ROUNDING:
            # A drift lost in rounding: the length fades or grows on where the map is straight, and rests where it is bent.
            fades = abs(float(maps.length_slope(ahead[index], phi, sw2=scale.sw2)) - 1.0) < CRITICAL_BAND
            return without_end if fades else (LengthMap.STABLE, float(ahead[index]))

    def move(length: float) -> float:
        return float(maps.length(length, phi, sw2=scale.sw2, sb2=scale.sb2)) / length - 1.0

    return LengthMap.STABLE, root_between(move, float(ahead[turned[0] - 1]), float(ahead[turned[0]]))


def _settled_correlation(phi: Nonlinearity, scale: Scale, *, q: float, chi: float) -> tuple[float, float]:
    """The stable fixed point c* in [0, 1] and sw2 E[phi'(u1) phi'(u2)] there.

    On [0, 1] the map is a power series with positive coefficients and C(1) = 1, hence convex: below one it has a second
    fixed point exactly when its slope at one exceeds one.
    """
    if chi <= 1.0 + CRITICAL_BAND:
        return 1.0, chi

    def move(c: float) -> float:
        return float(maps.correlation(c, phi, q=q, sw2=scale.sw2, sb2=scale.sb2)) - c

    if move(1.0 - NEAR_ONE) >= 0.0:
        return 1.0, chi
    c = root_between(move, 0.0, 1.0 - NEAR_ONE) if move(0.0) > 0.0 else 0.0
    stretch = float(maps.length(q, phi, sw2=scale.sw2, sb2=scale.sb2)) / q
    return c, float(maps.correlation_slope(c, phi, q=q, sw2=scale.sw2, sb2=scale.sb2)) * stretch


def _phase(chi: float) -> Phase:
    """Ordered, critical or chaotic, by the gain of the gradient."""
    if abs(chi - 1.0) <= CRITICAL_BAND:
        return Phase.CRITICAL
    return Phase.ORDERED if chi < 1.0 else Phase.CHAOTIC


def _depth_scale(factor: float) -> float:
    """1 / |ln factor|: layers over which a quantity multiplied by `factor` a layer changes e-fold."""
    if abs(factor - 1.0) <= CRITICAL_BAND:
        return math.inf
    return 1.0 / abs(math.log(factor)) if factor > 0.0 else 0.0


def checked_length(q: float) -> float:
    """The length itself. Raises UsageError for one that no signal has."""
    if not (math.isfinite(q) and q > 0.0):
        raise UsageError(f"the length q is {q}; give the mean square of a layer's input, a positive number")
    return q


def _refuse(scale: Scale) -> None:
    """Raises UsageError for variances that no network has."""
    for name, value in (("sw2", scale.sw2), ("sb2", scale.sb2)):
        if not (math.isfinite(value) and value >= 0.0):
            raise UsageError(f"the variance {name} is {value}; give a finite number that is not negative")
