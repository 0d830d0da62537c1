"""Expectations against closed forms and against adaptive quadrature, for kinked and smooth functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from activations import CATALOGUE, adaptive_expectation, label
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.theory.gaussian import NODES_PER_PANEL, expectation, nodes, pair_expectation
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity

EXACT = 1e-12
CORRELATIONS = (-1.0, -0.999999, -0.5, 0.0, 1e-9, 0.3, 0.9, 0.999999, 1.0 - 1e-12, 1.0)


@pytest.mark.parametrize("order", range(0, 9, 2))
def test_moments_of_a_gaussian_are_exact(order: int) -> None:
    double_factorial = math.prod(range(order - 1, 0, -2))
    assert expectation(lambda x: x**order, 1.7) == pytest.approx(double_factorial * 1.7**order, rel=EXACT)


def test_a_shifted_gaussian_has_its_mean_and_variance() -> None:
    mean, std = np.array([-2.0, 0.5, 3.0]), np.array([[0.1], [2.0]])
    result = expectation(lambda x: x**2, std, mean=mean)
    assert result.shape == (2, 3)
    np.testing.assert_allclose(result, mean**2 + std**2, rtol=EXACT)


@pytest.mark.parametrize("phi", CATALOGUE, ids=label)
@pytest.mark.parametrize("std", [0.01, 1.0, 20.0])
def test_expectations_of_every_activation_agree_with_adaptive_quadrature(phi: Nonlinearity, std: float) -> None:
    for function in (lambda x: phi.function(x) ** 2, lambda x: phi.derivative(x) ** 4):
        assert expectation(function, std, kinks=phi.kinks) == pytest.approx(adaptive_expectation(function, std), rel=1e-11)


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize("std", [0.1, 1.0, 7.0])
def test_relu_pairs_follow_the_arc_cosine_kernels(std: float, c: float) -> None:
    relu = nonlinearity("relu")
    first = std**2 * (math.sqrt((1.0 - c) * (1.0 + c)) + (math.pi - math.acos(c)) * c) / (2.0 * math.pi)
    result = pair_expectation(relu.function, std, correlation=c, kinks=relu.kinks)
    assert result == pytest.approx(first, rel=1e-10, abs=1e-14 * std**2)
    zeroth = (math.pi - math.acos(c)) / (2.0 * math.pi)
    assert pair_expectation(relu.derivative, std, correlation=c, kinks=relu.kinks) == pytest.approx(zeroth, abs=1e-12)


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize("std", [0.1, 1.0, 7.0])
def test_erf_pairs_follow_the_arc_sine_kernel(std: float, c: float) -> None:
    arc_sine = 2.0 / math.pi * math.asin(2.0 * std**2 * c / (1.0 + 2.0 * std**2))
    assert pair_expectation(nonlinearity("erf").function, std, correlation=c) == pytest.approx(arc_sine, abs=EXACT)


@pytest.mark.parametrize("phi", CATALOGUE, ids=label)
def test_pairs_at_the_ends_are_single_expectations(phi: Nonlinearity) -> None:
    squared = expectation(lambda x: phi.function(x) ** 2, 1.3, kinks=phi.kinks)
    assert pair_expectation(phi.function, 1.3, correlation=1.0, kinks=phi.kinks) == pytest.approx(squared, rel=EXACT)
    mean = expectation(phi.function, 1.3, kinks=phi.kinks)
    assert pair_expectation(phi.function, 1.3, correlation=0.0, kinks=phi.kinks) == pytest.approx(mean**2, rel=EXACT, abs=1e-15)


@given(std=st.floats(1e-3, 100.0), kink=st.floats(-50.0, 50.0))
@settings(max_examples=50, deadline=None)
def test_a_jump_anywhere_is_integrated_exactly(std: float, kink: float) -> None:
    def above(x: np.ndarray) -> np.ndarray:
        return (x > kink).astype(float)

    exact = 0.5 * math.erfc(kink / std / math.sqrt(2.0))
    assert expectation(above, std, kinks=(kink,)) == pytest.approx(exact, abs=1e-14)


def test_an_odd_gauss_hermite_rule_falls_into_relus_kink_and_ours_does_not() -> None:
    relu = nonlinearity("relu")

    def decades_over_fifty(chi: float) -> float:
        return 25.0 * math.log10(chi / 0.5)

    def hermite(count: int) -> float:
        roots, weights = np.polynomial.hermite_e.hermegauss(count)
        return float(np.sum(weights * (roots >= 0.0)) / np.sum(weights))

    assert 0.5 < decades_over_fifty(hermite(201)) < 3.0  # the node on zero counts wholly to one side
    assert abs(decades_over_fifty(float(expectation(relu.derivative, 1.0, kinks=relu.kinks)))) < 1e-12
    assert NODES_PER_PANEL % 2 == 0


@pytest.mark.parametrize("phi", [phi for phi in CATALOGUE if phi.kinks], ids=label)
def test_no_node_falls_on_a_kink(phi: Nonlinearity) -> None:
    z, weights = nodes(2.5, kinks=phi.kinks)
    assert not np.isin(2.5 * z[weights > 0.0], phi.kinks).any()
