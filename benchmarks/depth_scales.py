"""Simulates wide random networks to measure the depth scales of correlations and gradients, beside those of theory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from unvanish.theory import mean_field_maps
from unvanish.theory.criticality import FixedPoint, Scale, criticality
from unvanish.theory.gradient_forecast import width_correction
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity
from unvanish.theory.plain_network import Weights

WIDTH = 1000
BIAS_VARIANCE = 0.05  # sb2, as in Schoenholz 2017
GRID = (
    ("tanh", (0.4, 0.7, 1.0, 1.3, 2.4, 3.0, 4.0)),
    ("erf", (0.3, 0.5, 0.7, 1.0, 1.7, 2.2, 3.0)),
    ("sigmoid", (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 30.0)),
)
CORRELATION_SHIFT = 0.005  # of the correlation from its fixed point: small, so that the map is nearly linear
PAIRS = 60
CONVERGENCE_LAYERS = 5  # layers; in the chaotic phase noise grows while the correlations converge
GRADIENT_LAYERS = 10  # layers of the gradient
MIN_NETWORKS, MAX_NETWORKS = 2, 24  # networks for one figure
NETWORKS_PER_SQUARED_SCALE = (
    0.3  # noise of a few layers shifts ln of a factor, so 1 / ln needs networks in proportion to its square
)


@dataclass(frozen=True, slots=True)
class DepthScales:
    """Predicted and measured depth scales at one sw2. The predicted one of the gradient is that of WIDTH units."""

    name: str
    sw2: float
    phase: str
    xi_c: tuple[float, float]
    xi_grad: tuple[float, float]


def measure_depth_scales(name: str, sw2: float, *, seed: int) -> DepthScales:
    """The depth scales of theory beside those of networks of WIDTH units."""
    phi, scale = nonlinearity(name), Scale(sw2, BIAS_VARIANCE)
    fixed = criticality(phi, scale).fixed_point
    if fixed is None:
        raise ValueError(f"{name} at sw2 = {sw2} has no fixed point; take it off the grid")
    generator = np.random.default_rng(seed)
    slopes = [_correlation_slope(phi, scale, fixed, generator) for _ in range(_count_networks(fixed.xi_c))]
    gains = [_gradient_gain(phi, scale, fixed, generator) for _ in range(_count_networks(fixed.xi_grad))]
    finite = width_correction(float(mean_field_maps.kurtosis(fixed.q, phi)), fan_in=WIDTH, fan_out=WIDTH, weights=Weights.GAUSSIAN)
    return DepthScales(
        name,
        sw2,
        fixed.phase,
        (fixed.xi_c, -1.0 / float(np.mean(slopes))),
        (1.0 / abs(math.log(fixed.chi) + finite), 1.0 / abs(float(np.mean(gains)))),
    )


def format_table(rows: list[DepthScales]) -> str:
    """The rows as text, with the worst of each column."""
    head = "".join(f"  {name:>7s} {'measured':>8s} {'off':>6s}" for name in ("xi_c", "xi_grad"))
    lines = [f"{'activation':10s} {'sw2':>5s} {'phase':7s}{head}"]
    for row in rows:
        cells = "  ".join(f"{xi:7.3f} {measured:8.3f} {measured / xi - 1.0:+6.1%}" for xi, measured in (row.xi_c, row.xi_grad))
        lines.append(f"{row.name:10s} {row.sw2:5.1f} {row.phase:7s}  {cells}")
    worst = (
        max(abs(measured / xi - 1.0) for xi, measured in column)
        for column in zip(*((r.xi_c, r.xi_grad) for r in rows), strict=True)
    )
    lines.append("largest deviation: xi_c {:.1%}, xi_grad {:.1%}".format(*worst))
    return "\n".join(lines)


def _count_networks(xi: float) -> int:
    """How many networks measure a depth scale of about `xi` layers to one or two per cent."""
    return min(max(math.ceil(NETWORKS_PER_SQUARED_SCALE * xi * xi), MIN_NETWORKS), MAX_NETWORKS)


def _draw_layer(scale: Scale, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A weight and a bias."""
    weight = generator.standard_normal((WIDTH, WIDTH)) * math.sqrt(scale.sw2 / WIDTH)
    return weight, generator.standard_normal((WIDTH, 1)) * math.sqrt(scale.sb2)


def _correlation_slope(phi: Nonlinearity, scale: Scale, fixed: FixedPoint, generator: np.random.Generator) -> float:
    """The logarithm of the factor by which correlations approach their fixed point a layer.

    Two partners of one signal start SHIFT above and below the fixed point; what is followed is the difference of their
    correlations to it. Above one there is no correlation, so there the signal itself is the upper partner.
    """
    one, other = generator.standard_normal((2, WIDTH, PAIRS))
    ends = (min(fixed.c + CORRELATION_SHIFT, 1.0), fixed.c - CORRELATION_SHIFT)
    size = math.sqrt(fixed.q)
    signals = [one * size, *(size * (c * one + math.sqrt(1.0 - c * c) * other) for c in ends)]
    differences = [_correlation_difference(signals)]
    for _ in range(CONVERGENCE_LAYERS):
        weight, bias = _draw_layer(scale, generator)
        signals = [weight @ phi.function(signal) + bias for signal in signals]
        differences.append(_correlation_difference(signals))
    return float(np.polyfit(np.arange(CONVERGENCE_LAYERS + 1), np.log(differences), 1)[0])


def _correlation_difference(signals: list[np.ndarray]) -> float:
    """The correlation of the first signal with the second less that with the third, over all pairs."""
    signal, upper, lower = signals
    length = np.mean(signal**2, axis=0)
    above, below = (np.mean(signal * x, axis=0) / np.sqrt(length * np.mean(x**2, axis=0)) for x in (upper, lower))
    return float(np.mean(above - below))


def _gradient_gain(phi: Nonlinearity, scale: Scale, fixed: FixedPoint, generator: np.random.Generator) -> float:
    """Mean ln of the factor by which the mean squared gradient changes a layer, at the fixed length."""
    h = generator.standard_normal((WIDTH, PAIRS)) * math.sqrt(fixed.q)
    weights: list[np.ndarray] = []
    slopes: list[np.ndarray] = []
    for _ in range(GRADIENT_LAYERS):
        weight, bias = _draw_layer(scale, generator)
        weights.append(weight)
        slopes.append(phi.derivative(h))
        h = weight @ phi.function(h) + bias
    gradient = generator.standard_normal((WIDTH, PAIRS))
    start = np.mean(gradient**2, axis=0)
    for weight, slope in zip(reversed(weights), reversed(slopes), strict=True):
        gradient = slope * (weight.T @ gradient)
    return float(np.mean(np.log(np.mean(gradient**2, axis=0) / start))) / GRADIENT_LAYERS
