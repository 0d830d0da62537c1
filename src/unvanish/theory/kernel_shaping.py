"""Kernel shaping: scales and shifts activations so that a deep plain network keeps its inputs apart, and similar ones similar.

TAT for the leaky ReLU picks its slope; DKS and TAT for smooth activations pick phi^(x) = gamma (phi(alpha x + beta) + delta),
each by solving the method's own conditions on the maps of the network (DKS: Martens 2021, arXiv 2110.01765; TAT: Zhang
2022, arXiv 2203.08120). Both expect orthogonal weights times max(sqrt(fan_out / fan_in), 1), no bias, and inputs scaled to q = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import optimize

from unvanish.errors import UsageError
from unvanish.theory.gaussian import FloatArray, Function, nodes
from unvanish.theory.nonlinearity import Nonlinearity, leaky_relu, second_derivative
from unvanish.theory.root_finding import root_between
from unvanish.theory.shaped_networks import Network, check_network, compose_map, curvature_at_one, slope_at_one, subnetworks

TAT_LEAKY_CORRELATION = 0.9  # eta: C_f(0) of the deepest subnetwork (Zhang 2022)
TAT_CURVATURE = 0.3  # tau: C_f''(1) of the deepest subnetwork (Zhang 2022)
DKS_SLOPE = 1.5  # zeta: C_f'(1) of the deepest subnetwork (Martens 2021)
MAX_RESIDUAL = 1e-8  # largest residual of a solution; the residuals are relative to the target of one layer
SMALLEST_LOG_SLOPE = 1e-6  # of one layer; the search starts here and doubles, so that deep chains do not overflow
MAX_DISTANCE = 0.6  # in ln alpha and beta: a solution farther from its starting point belongs to another one
# The grid of starting points: alpha down to what 100,000 layers need; beta denser near zero, where kinks are, and never
# zero itself, where odd activations have no solution.
ALPHAS = np.geomspace(1e-3, 5.0, 44)
BETAS = 0.05 * np.sinh(np.linspace(-5.0, 5.0, 60))
COARSE_ROOTS, COARSE_WEIGHTS = np.polynomial.hermite_e.hermegauss(24)  # even; exact enough for starting points

Quadrature = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]  # alpha, beta -> nodes z and weights
Residuals = Callable[[FloatArray, FloatArray, Quadrature], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, slots=True)
class ShapedActivation:
    """The activation phi^(x) = gamma (phi(alpha x + beta) + delta)."""

    phi: Nonlinearity
    alpha: float
    beta: float
    gamma: float
    delta: float

    def nonlinearity(self) -> Nonlinearity:
        """The shaped activation as an entry of the catalogue, for use with `maps`."""
        phi, second = self.phi, self.phi.second
        return Nonlinearity(
            f"tailored-{phi.name}",
            partial(_affine, phi.function, self.alpha, self.beta, self.gamma, self.delta),
            partial(_affine, phi.derivative, self.alpha, self.beta, self.gamma * self.alpha, 0.0),
            None if second is None else partial(_affine, second, self.alpha, self.beta, self.gamma * self.alpha**2, 0.0),
            tuple((kink - self.beta) / self.alpha for kink in phi.kinks),
            (*phi.settings, ("alpha", self.alpha), ("beta", self.beta), ("gamma", self.gamma), ("delta", self.delta)),
        )


def leaky_correlation(c: float, slope: float) -> float:
    """C(c) of sqrt(2 / (1 + a^2)) LeakyReLU_a, for a = `slope`.

    C(c) = ((1 - a)^2 (sqrt(1 - c^2) + (pi - arccos c) c) / pi + 2 a c) / (1 + a^2) (Zhang 2022).
    """
    c = min(max(c, -1.0), 1.0)
    relu_part = (math.sqrt(1.0 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
    return ((1.0 - slope) ** 2 * relu_part + 2.0 * slope * c) / (1.0 + slope**2)


def tat_leaky_relu(network: Network, *, correlation: float = TAT_LEAKY_CORRELATION) -> ShapedActivation:
    """The leaky ReLU whose deepest subnetwork maps orthogonal inputs to `correlation` (Zhang 2022).

    alpha is 1, beta and delta are 0, gamma is sqrt(2 / (1 + a^2)) for the slope a. A network too shallow to reach it gets ReLU,
    slope 0. Cost: about 0.5 ms for 50 layers.

    Arguments:
        network: The layers and residual branches of the network.
        correlation: The target eta, between 0 and 1.

    Raises:
        UsageError: The network has no layers, or `correlation` is out of range.

    Example:
        >>> from unvanish.theory.shaped_networks import Layers
        >>> [(name, round(value, 4)) for name, value in tat_leaky_relu(Layers(50)).phi.settings]
        [('slope', 0.4305)]
    """
    check_network(network)
    if not 0.0 < correlation < 1.0:
        raise UsageError(f"the correlation to reach is {correlation}; give one between 0 and 1, such as {TAT_LEAKY_CORRELATION}")
    parts = tuple(subnetworks(network))

    def excess(slope: float) -> float:
        return max(compose_map(part, partial(leaky_correlation, slope=slope))(0.0) for part in parts) - correlation

    slope = root_between(excess, 0.0, 1.0) if excess(0.0) > 0.0 else 0.0
    return ShapedActivation(leaky_relu(slope=slope), 1.0, 0.0, math.sqrt(2.0 / (1.0 + slope**2)), 0.0)


def dks(phi: Nonlinearity, network: Network, *, slope: float = DKS_SLOPE) -> ShapedActivation:
    """The activation with Q(1) = 1, Q'(1) = 1, C(0) = 0 and C_f'(1) = `slope` over the deepest subnetwork.

    Source: Martens 2021, arXiv 2110.01765. Cost: about 5 ms, up to 30 for networks of one layer.

    Arguments:
        phi: A smooth activation.
        network: The layers and residual branches of the network.
        slope: The target zeta, above 1.

    Raises:
        UsageError: No such scale and shift exist, the slope of phi jumps, there are no layers, or `slope` is out of range.

    Example:
        >>> from unvanish.theory import mean_field_maps
        >>> from unvanish.theory.nonlinearity import nonlinearity
        >>> from unvanish.theory.shaped_networks import Layers
        >>> shaped = dks(nonlinearity("tanh"), Layers(50)).nonlinearity()
        >>> round(float(mean_field_maps.gain(1.0, shaped, sw2=1.0)) ** 50, 6)
        1.5
    """
    check_network(network)
    if not (math.isfinite(slope) and slope > 1.0):
        raise UsageError(f"the slope to reach is {slope}; give one above 1, such as {DKS_SLOPE}")
    second_derivative(phi)
    target = _solve_layer_slope(network, slope) - 1.0

    def residuals(alpha: FloatArray, beta: FloatArray, quadrature: Quadrature) -> tuple[FloatArray, FloatArray]:
        _, spread, slope_at, length_slope = _dks_moments(phi, alpha, beta, quadrature)
        return np.log((slope_at / spread - 1.0) / target), (length_slope / spread - 1.0) / target

    alpha, beta = _solve(residuals, phi, method="DKS")
    mean, spread, *_ = _dks_moments(phi, alpha, beta, partial(_exact_quadrature, phi))
    return ShapedActivation(phi, float(alpha), float(beta), 1.0 / math.sqrt(float(spread)), -float(mean))


def tat(phi: Nonlinearity, network: Network, *, curvature: float = TAT_CURVATURE) -> ShapedActivation:
    """The activation with Q(1) = 1, Q'(1) = 1, C'(1) = 1 and C_f''(1) = `curvature` over the deepest subnetwork.

    Source: Zhang 2022, arXiv 2203.08120. Cost: about 5 ms, up to 60 for networks of one layer.

    Arguments:
        phi: A smooth activation.
        network: The layers and residual branches of the network.
        curvature: The target tau, above 0.

    Raises:
        UsageError: No such scale and shift exist, the slope of phi jumps, there are no layers, or `curvature` is out of range.

    Example:
        >>> from unvanish.theory import mean_field_maps
        >>> from unvanish.theory.nonlinearity import nonlinearity
        >>> from unvanish.theory.shaped_networks import Layers
        >>> shaped = tat(nonlinearity("tanh"), Layers(50)).nonlinearity()
        >>> abs(round(float(mean_field_maps.gain(1.0, shaped, sw2=1.0)), 9))
        1.0
    """
    check_network(network)
    if not (math.isfinite(curvature) and curvature > 0.0):
        raise UsageError(f"the bend to reach is {curvature}; give one above 0, such as {TAT_CURVATURE}")
    second_derivative(phi)
    target = curvature / max(curvature_at_one(part) for part in subnetworks(network))

    def residuals(alpha: FloatArray, beta: FloatArray, quadrature: Quadrature) -> tuple[FloatArray, FloatArray]:
        _, length, slope_at, curvature_at = _tat_moments(phi, alpha, beta, quadrature)
        return np.log(curvature_at / slope_at / target), (length / slope_at - 1.0) / target

    alpha, beta = _solve(residuals, phi, method="TAT")
    shift, _, slope_at, _ = _tat_moments(phi, alpha, beta, partial(_exact_quadrature, phi))
    return ShapedActivation(phi, float(alpha), float(beta), 1.0 / math.sqrt(float(slope_at)), float(shift))


def _solve_layer_slope(network: Network, slope: float) -> float:
    """C'(1) of one layer for which the deepest subnetwork has that slope."""
    parts = tuple(subnetworks(network))

    def excess(log_slope: float) -> float:
        return max(slope_at_one(part, math.exp(log_slope)) for part in parts) - slope

    high = SMALLEST_LOG_SLOPE
    while excess(high) < 0.0:
        high *= 2.0
    return math.exp(root_between(excess, 0.0, high))


def _dks_moments(
    phi: Nonlinearity, alpha: FloatArray, beta: FloatArray, quadrature: Quadrature
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """E[phi], Var phi, alpha^2 E[phi'^2] and alpha E[(phi - E phi) phi' z] at alpha z + beta.

    With delta = -E phi and gamma^2 = 1 / Var phi, C(0) = 0 and Q(1) = 1 hold, and the last two over Var phi are C'(1) and Q'(1).
    """
    z, weights = quadrature(alpha, beta)
    x = beta[..., None] + alpha[..., None] * z
    value, slope = phi.function(x), phi.derivative(x)
    mean = np.sum(weights * value, axis=-1)
    centred = value - mean[..., None]
    spread = np.sum(weights * centred**2, axis=-1)
    return mean, spread, alpha**2 * np.sum(weights * slope**2, axis=-1), alpha * np.sum(weights * centred * slope * z, axis=-1)


def _tat_moments(
    phi: Nonlinearity, alpha: FloatArray, beta: FloatArray, quadrature: Quadrature
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """delta, E[(phi + delta)^2], alpha^2 E[phi'^2] and alpha^4 E[phi''^2] at alpha z + beta.

    Q'(1) = gamma^2 alpha^2 E[phi'^2 + (phi + delta) phi''] by Stein's lemma, so Q'(1) = C'(1) = 1 needs delta =
    -E[phi phi''] / E[phi''] and gamma^-2 = alpha^2 E[phi'^2].
    """
    z, weights = quadrature(alpha, beta)
    x = beta[..., None] + alpha[..., None] * z
    value, second = phi.function(x), second_derivative(phi)(x)
    delta = -np.sum(weights * value * second, axis=-1) / np.sum(weights * second, axis=-1)
    length = np.sum(weights * (value + delta[..., None]) ** 2, axis=-1)
    slope = alpha**2 * np.sum(weights * phi.derivative(x) ** 2, axis=-1)
    return delta, length, slope, alpha**4 * np.sum(weights * second**2, axis=-1)


def _exact_quadrature(phi: Nonlinearity, alpha: FloatArray, beta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights that integrate phi to rounding."""
    return nodes(alpha, mean=beta, kinks=phi.kinks)


def _coarse_quadrature(_alpha: FloatArray, _beta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Few nodes and weights, the same for all scales and shifts."""
    return COARSE_ROOTS, COARSE_WEIGHTS / math.sqrt(2.0 * math.pi)


def _solve(residuals: Residuals, phi: Nonlinearity, *, method: str) -> tuple[FloatArray, FloatArray]:
    """The alpha and beta with the smallest shift at which both residuals are zero; of mirror images, the positive shift.

    Several solutions are common. The one nearest the middle of phi changes smoothly with depth and is curved over the whole
    Gaussian; others can be curved in its tail alone, where at a finite width there is hardly a unit. Raises UsageError for none.
    """
    exact = partial(_exact_quadrature, phi)

    def residuals_at(point: FloatArray) -> FloatArray:
        return np.stack(residuals(np.exp(point[0]), point[1], exact))

    with np.errstate(all="ignore"):  # where phi is flat its variance is zero: residuals are not finite, and no solution
        for start in _starting_points(residuals):
            end = optimize.root(residuals_at, start, method="hybr", tol=1e-13)
            if np.max(np.abs(end.fun)) < MAX_RESIDUAL and np.max(np.abs(end.x - start)) < MAX_DISTANCE:
                return np.exp(end.x[0]), np.asarray(end.x[1])
    raise UsageError(
        f"{method} finds no scale and shift of {phi.name} that meet its conditions at this depth; "
        "take another smooth activation, such as tanh"
    )


def _starting_points(residuals: Residuals) -> FloatArray:
    """Middles of the grid's cells over whose corners both residuals change sign, smallest shift first.

    Rows of ln alpha and beta.
    """
    alphas, betas = np.meshgrid(ALPHAS, BETAS, indexing="ij")
    changes_sign = np.ones((len(ALPHAS) - 1, len(BETAS) - 1), dtype=bool)
    for values in residuals(alphas, betas, _coarse_quadrature):
        corners = np.stack([values[:-1, :-1], values[1:, :-1], values[:-1, 1:], values[1:, 1:]])
        changes_sign &= np.isfinite(corners).all(axis=0) & (corners.min(axis=0) <= 0.0) & (corners.max(axis=0) >= 0.0)
    rows, columns = np.nonzero(changes_sign)
    middle = (BETAS[columns] + BETAS[columns + 1]) / 2.0
    starts = np.stack([(np.log(ALPHAS[rows]) + np.log(ALPHAS[rows + 1])) / 2.0, middle], axis=1)
    return starts[np.lexsort((-middle, np.round(np.abs(middle), 9)))]


def _affine(function: Function, alpha: float, beta: float, gamma: float, delta: float, x: FloatArray) -> FloatArray:
    """The value gamma (f(alpha x + beta) + delta)."""
    return gamma * (function(alpha * x + beta) + delta)
