"""Kernel shaping: activations tailored so that a deep plain network neither forgets nor shatters its inputs.

TAT for the leaky ReLU picks its slope; DKS and TAT for smooth activations pick phi^(x) = gamma (phi(alpha x + beta) + delta),
each by solving the method's own conditions on the maps of the network (DKS: Martens 2021, arXiv 2110.01765; TAT: Zhang
2022, arXiv 2203.08120). Both expect orthogonal weights times max(sqrt(fan_out / fan_in), 1), no bias, and inputs scaled to q = 1.
Nothing here changes a network.
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
from unvanish.theory.nonlinearity import Nonlinearity, leaky_relu, smooth
from unvanish.theory.roots import root_between
from unvanish.theory.subnetworks import Network, bends, checked, composed, slope_at_one, subnetworks

TAT_LEAKY_CORRELATION = 0.9  # eta: C_f(0) of the deepest subnetwork (Zhang 2022)
TAT_BEND = 0.3  # tau: C_f''(1) of the deepest subnetwork (Zhang 2022)
DKS_SLOPE = 1.5  # zeta: C_f'(1) of the deepest subnetwork (Martens 2021)
SOLVED = 1e-8  # largest residual of a solution; the residuals are relative to what a layer may bend
SMALLEST_LOG_SLOPE = 1e-6  # of one layer; the search starts here and doubles, so that deep chains do not overflow
CLOSE = 0.6  # in ln alpha and beta: a solution farther from its start belongs to another start
# Where solutions are looked for: alpha down to what 100,000 layers ask for; beta denser near zero, where kinks are, and never
# zero itself, where odd activations have no solution.
ALPHAS = np.geomspace(1e-3, 5.0, 44)
BETAS = 0.05 * np.sinh(np.linspace(-5.0, 5.0, 60))
COARSE_ROOTS, COARSE_WEIGHTS = np.polynomial.hermite_e.hermegauss(24)  # even; good enough for a place to start

Rule = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]  # alpha, beta -> nodes z and weights
Residuals = Callable[[FloatArray, FloatArray, Rule], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, slots=True)
class Tailored:
    """The activation phi^(x) = gamma (phi(alpha x + beta) + delta)."""

    phi: Nonlinearity
    alpha: float
    beta: float
    gamma: float
    delta: float

    def nonlinearity(self) -> Nonlinearity:
        """The tailored activation as one of the catalogue's kind, for the maps."""
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
    bent = (math.sqrt(1.0 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
    return ((1.0 - slope) ** 2 * bent + 2.0 * slope * c) / (1.0 + slope**2)


def tat_leaky_relu(network: Network, *, correlation: float = TAT_LEAKY_CORRELATION) -> Tailored:
    """The leaky ReLU whose deepest subnetwork maps orthogonal inputs to `correlation` (Zhang 2022).

    alpha is 1, beta and delta are 0, gamma is sqrt(2 / (1 + a^2)) for the slope a. A network too shallow to get there gets ReLU,
    slope 0. Raises UsageError for a network without layers or a correlation outside (0, 1). Cost: about 0.5 ms for 50 layers.
    """
    checked(network)
    if not 0.0 < correlation < 1.0:
        raise UsageError(f"the correlation to reach is {correlation}; give one between 0 and 1, such as {TAT_LEAKY_CORRELATION}")
    parts = tuple(subnetworks(network))

    def excess(slope: float) -> float:
        return max(composed(part, partial(leaky_correlation, slope=slope))(0.0) for part in parts) - correlation

    slope = root_between(excess, 0.0, 1.0) if excess(0.0) > 0.0 else 0.0
    return Tailored(leaky_relu(slope=slope), 1.0, 0.0, math.sqrt(2.0 / (1.0 + slope**2)), 0.0)


def dks(phi: Nonlinearity, network: Network, *, slope: float = DKS_SLOPE) -> Tailored:
    """The activation with Q(1) = 1, Q'(1) = 1, C(0) = 0 and C_f'(1) = `slope` over the deepest subnetwork.

    Source: Martens 2021, arXiv 2110.01765. Raises UsageError where no such scale and shift exist, or where the slope of phi jumps.
    Cost: about 5 ms, up to 30 for networks of one layer.
    """
    checked(network)
    if not (math.isfinite(slope) and slope > 1.0):
        raise UsageError(f"the slope to reach is {slope}; give one above 1, such as {DKS_SLOPE}")
    smooth(phi)
    target = _layer_slope(network, slope) - 1.0

    def residuals(alpha: FloatArray, beta: FloatArray, rule: Rule) -> tuple[FloatArray, FloatArray]:
        _, spread, slope_at, length_slope = _centred(phi, alpha, beta, rule)
        return np.log((slope_at / spread - 1.0) / target), (length_slope / spread - 1.0) / target

    alpha, beta = _solution(residuals, phi, method="DKS")
    mean, spread, *_ = _centred(phi, alpha, beta, partial(_exact, phi))
    return Tailored(phi, float(alpha), float(beta), 1.0 / math.sqrt(float(spread)), -float(mean))


def tat(phi: Nonlinearity, network: Network, *, bend: float = TAT_BEND) -> Tailored:
    """The activation with Q(1) = 1, Q'(1) = 1, C'(1) = 1 and C_f''(1) = `bend` over the deepest subnetwork.

    Source: Zhang 2022, arXiv 2203.08120. Raises UsageError where no such scale and shift exist, or where the slope of phi jumps.
    Cost: about 5 ms, up to 60 for networks of one layer.
    """
    checked(network)
    if not (math.isfinite(bend) and bend > 0.0):
        raise UsageError(f"the bend to reach is {bend}; give one above 0, such as {TAT_BEND}")
    smooth(phi)
    target = bend / max(bends(part) for part in subnetworks(network))

    def residuals(alpha: FloatArray, beta: FloatArray, rule: Rule) -> tuple[FloatArray, FloatArray]:
        _, length, slope_at, bend_at = _bent(phi, alpha, beta, rule)
        return np.log(bend_at / slope_at / target), (length / slope_at - 1.0) / target

    alpha, beta = _solution(residuals, phi, method="TAT")
    shift, _, slope_at, _ = _bent(phi, alpha, beta, partial(_exact, phi))
    return Tailored(phi, float(alpha), float(beta), 1.0 / math.sqrt(float(slope_at)), float(shift))


def _layer_slope(network: Network, slope: float) -> float:
    """C'(1) of one layer for which the deepest subnetwork has that slope."""
    parts = tuple(subnetworks(network))

    def excess(log_slope: float) -> float:
        return max(slope_at_one(part, math.exp(log_slope)) for part in parts) - slope

    high = SMALLEST_LOG_SLOPE
    while excess(high) < 0.0:
        high *= 2.0
    return math.exp(root_between(excess, 0.0, high))


def _centred(
    phi: Nonlinearity, alpha: FloatArray, beta: FloatArray, rule: Rule
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """E[phi], Var phi, alpha^2 E[phi'^2] and alpha E[(phi - E phi) phi' z] at alpha z + beta.

    With delta = -E phi and gamma^2 = 1 / Var phi, C(0) = 0 and Q(1) = 1 hold, and the last two over Var phi are C'(1) and Q'(1).
    """
    z, weights = rule(alpha, beta)
    at = beta[..., None] + alpha[..., None] * z
    value, slope = phi.function(at), phi.derivative(at)
    mean = np.sum(weights * value, axis=-1)
    centred = value - mean[..., None]
    spread = np.sum(weights * centred**2, axis=-1)
    return mean, spread, alpha**2 * np.sum(weights * slope**2, axis=-1), alpha * np.sum(weights * centred * slope * z, axis=-1)


def _bent(
    phi: Nonlinearity, alpha: FloatArray, beta: FloatArray, rule: Rule
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """delta, E[(phi + delta)^2], alpha^2 E[phi'^2] and alpha^4 E[phi''^2] at alpha z + beta.

    Q'(1) = gamma^2 alpha^2 E[phi'^2 + (phi + delta) phi''] by Stein's lemma, so Q'(1) = C'(1) = 1 asks for delta =
    -E[phi phi''] / E[phi''] and gamma^-2 = alpha^2 E[phi'^2].
    """
    z, weights = rule(alpha, beta)
    at = beta[..., None] + alpha[..., None] * z
    value, bend = phi.function(at), smooth(phi)(at)
    delta = -np.sum(weights * value * bend, axis=-1) / np.sum(weights * bend, axis=-1)
    length = np.sum(weights * (value + delta[..., None]) ** 2, axis=-1)
    slope = alpha**2 * np.sum(weights * phi.derivative(at) ** 2, axis=-1)
    return delta, length, slope, alpha**4 * np.sum(weights * bend**2, axis=-1)


def _exact(phi: Nonlinearity, alpha: FloatArray, beta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights that integrate phi to rounding."""
    return nodes(alpha, mean=beta, kinks=phi.kinks)


def _coarse(_alpha: FloatArray, _beta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Few nodes and weights, the same for all scales and shifts."""
    return COARSE_ROOTS, COARSE_WEIGHTS / math.sqrt(2.0 * math.pi)


def _solution(residuals: Residuals, phi: Nonlinearity, *, method: str) -> tuple[FloatArray, FloatArray]:
    """The alpha and beta with the smallest shift at which both residuals are zero; of mirror images, the positive shift.

    Several solutions are common. The one nearest the middle of phi changes smoothly with depth and bends over the whole
    Gaussian; others can bend in its tail alone, where at a finite width hardly a unit is. Raises UsageError where there is none.
    """
    exact = partial(_exact, phi)

    def both(point: FloatArray) -> FloatArray:
        return np.stack(residuals(np.exp(point[0]), point[1], exact))

    with np.errstate(all="ignore"):  # where phi is flat it has no spread: not finite, and no solution
        for start in _starts(residuals):
            end = optimize.root(both, start, method="hybr", tol=1e-13)
            if np.max(np.abs(end.fun)) < SOLVED and np.max(np.abs(end.x - start)) < CLOSE:
                return np.exp(end.x[0]), np.asarray(end.x[1])
    raise UsageError(
        f"{method} finds no scale and shift of {phi.name} that meet its conditions at this depth; "
        "take another smooth activation, such as tanh"
    )


def _starts(residuals: Residuals) -> FloatArray:
    """Middles of the grid's cells over whose corners both residuals change sign, smallest shift first.

    Rows of ln alpha and beta.
    """
    alphas, betas = np.meshgrid(ALPHAS, BETAS, indexing="ij")
    turns = np.ones((len(ALPHAS) - 1, len(BETAS) - 1), dtype=bool)
    for values in residuals(alphas, betas, _coarse):
        corners = np.stack([values[:-1, :-1], values[1:, :-1], values[:-1, 1:], values[1:, 1:]])
        turns &= np.isfinite(corners).all(axis=0) & (corners.min(axis=0) <= 0.0) & (corners.max(axis=0) >= 0.0)
    rows, columns = np.nonzero(turns)
    middle = (BETAS[columns] + BETAS[columns + 1]) / 2.0
    starts = np.stack([(np.log(ALPHAS[rows]) + np.log(ALPHAS[rows + 1])) / 2.0, middle], axis=1)
    return starts[np.lexsort((-middle, np.round(np.abs(middle), 9)))]


def _affine(function: Function, alpha: float, beta: float, gamma: float, delta: float, x: FloatArray) -> FloatArray:
    """The value gamma (f(alpha x + beta) + delta)."""
    return gamma * (function(alpha * x + beta) + delta)
