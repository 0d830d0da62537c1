"""Kernel shaping: the conditions of each method, checked through the maps rather than through the solver's own sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from activations import adaptive_expectation
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.errors import UsageError
from unvanish.theory import mean_field_maps
from unvanish.theory.kernel_shaping import ShapedActivation, dks, leaky_correlation, tat, tat_leaky_relu
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity, second_derivative
from unvanish.theory.shaped_networks import Layers, Residual, Sequential, compose_map, curvature_at_one, slope_at_one, subnetworks

SMOOTH = ("sigmoid", "tanh", "softsign", "elu", "gelu", "silu", "mish", "softplus", "erf")
DEPTHS = (3, 50, 1000)


def leaky_slope(shaped_phi: ShapedActivation) -> float:
    assert isinstance(shaped_phi.phi, Nonlinearity)
    return dict(shaped_phi.phi.settings)["slope"]


def assert_keeps_length(phi: Nonlinearity) -> None:
    assert mean_field_maps.length(1.0, phi, sw2=1.0) == pytest.approx(1.0, abs=1e-9)
    step = 1e-3
    low, high = mean_field_maps.length(np.array([1.0 - step, 1.0 + step]), phi, sw2=1.0)
    assert (high - low) / (2.0 * step) == pytest.approx(1.0, abs=1e-5)
    assert mean_field_maps.length_slope(1.0, phi, sw2=1.0) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize(("depth", "slope"), [(50, 0.4305), (100, 0.5704)])
def test_the_leaky_slopes_are_the_known_ones(depth: int, slope: float) -> None:
    assert leaky_slope(tat_leaky_relu(Layers(depth))) == pytest.approx(slope, abs=5e-5)


@pytest.mark.parametrize("slope", [0.0, 0.3, 0.9])
def test_the_leaky_map_agrees_with_quadrature(slope: float) -> None:
    phi, sw2 = nonlinearity("leaky-relu", slope=slope), 2.0 / (1.0 + slope**2)
    for c in (-0.7, 0.0, 0.5, 0.99):
        assert leaky_correlation(c, slope) == pytest.approx(float(mean_field_maps.correlation(c, phi, q=1.0, sw2=sw2)), abs=1e-12)


def test_a_tailored_leaky_relu_maps_orthogonal_inputs_to_the_target() -> None:
    phi = tat_leaky_relu(Layers(20)).nonlinearity()
    c = 0.0
    for _ in range(20):
        c = float(mean_field_maps.correlation(c, phi, q=1.0, sw2=1.0))
    assert c == pytest.approx(0.9, abs=1e-10)
    assert mean_field_maps.length(1.0, phi, sw2=1.0) == pytest.approx(1.0, abs=1e-12)


def test_a_shallow_network_keeps_relu() -> None:
    assert leaky_slope(tat_leaky_relu(Layers(2))) == 0.0


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", SMOOTH)
def test_dks_meets_its_conditions(name: str, depth: int) -> None:
    shaped_phi = dks(nonlinearity(name), Layers(depth)).nonlinearity()
    assert_keeps_length(shaped_phi)
    assert mean_field_maps.correlation(0.0, shaped_phi, q=1.0, sw2=1.0) == pytest.approx(0.0, abs=1e-9)
    assert float(mean_field_maps.gain(1.0, shaped_phi, sw2=1.0)) ** depth == pytest.approx(1.5, rel=1e-6)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", SMOOTH)
def test_tat_meets_its_conditions(name: str, depth: int) -> None:
    shaped_phi = tat(nonlinearity(name), Layers(depth)).nonlinearity()
    assert_keeps_length(shaped_phi)
    assert mean_field_maps.gain(1.0, shaped_phi, sw2=1.0) == pytest.approx(1.0, abs=1e-9)
    assert depth * mean_field_maps.expectation(
        lambda x: second_derivative(shaped_phi)(x) ** 2, 1.0, kinks=shaped_phi.kinks
    ) == pytest.approx(0.3, rel=1e-6)


def test_the_conditions_hold_under_adaptive_quadrature_too() -> None:
    shaped_phi = dks(nonlinearity("tanh"), Layers(20))

    def shaped(x: np.ndarray) -> np.ndarray:
        return shaped_phi.gamma * (np.tanh(shaped_phi.alpha * x + shaped_phi.beta) + shaped_phi.delta)

    assert adaptive_expectation(shaped, 1.0) == pytest.approx(0.0, abs=1e-9)
    assert adaptive_expectation(lambda x: shaped(x) ** 2, 1.0) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("method", [dks, tat], ids=["dks", "tat"])
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "silu", "mish", "softplus", "erf"])
def test_solutions_change_smoothly_with_depth(name: str, method: object) -> None:
    shaped_all = [method(nonlinearity(name), Layers(depth)) for depth in (20, 25, 30, 40, 60, 90)]  # type: ignore[operator]
    shifts = np.array([shaped_phi.beta for shaped_phi in shaped_all])
    assert np.abs(np.diff(shifts)).max() < 0.06
    assert (np.diff([shaped_phi.alpha for shaped_phi in shaped_all]) < 0.0).all()


def test_odd_activations_take_the_positive_shift() -> None:
    assert dks(nonlinearity("tanh"), Layers(30)).beta > 0.0
    assert tat(nonlinearity("erf"), Layers(30)).beta > 0.0


def test_a_residual_branch_is_the_deepest_part_and_shapes_the_whole() -> None:
    branch = Layers(12)
    network = Residual(branch, 0.9)
    assert dks(nonlinearity("tanh"), network) == dks(nonlinearity("tanh"), branch)
    assert tat(nonlinearity("tanh"), network) == tat(nonlinearity("tanh"), branch)
    assert leaky_slope(tat_leaky_relu(network)) == leaky_slope(tat_leaky_relu(branch))


def test_residual_sums_have_less_curvature_than_a_chain_of_their_layers() -> None:
    block = Residual(Layers(2), math.sqrt(0.5))
    network = Sequential((block,) * 16)
    assert curvature_at_one(network) == pytest.approx(16.0)
    assert leaky_slope(tat_leaky_relu(network)) < leaky_slope(tat_leaky_relu(Layers(32)))
    per_layer = float(mean_field_maps.gain(1.0, dks(nonlinearity("tanh"), network).nonlinearity(), sw2=1.0))
    assert slope_at_one(network, per_layer) == pytest.approx(1.5, rel=1e-8)


def test_every_branch_counts_as_a_subnetwork() -> None:
    inner = Residual(Layers(3), 0.5)
    network = Sequential((Layers(1), Residual(Sequential((Layers(2), inner)), 0.5)))
    assert list(subnetworks(network)) == [network, Sequential((Layers(2), inner)), Layers(3)]


@given(w=st.floats(0.0, 0.99), count=st.integers(1, 6), slope=st.floats(1.0, 1.3))
@settings(max_examples=30, deadline=None)
def test_slopes_compose_as_the_maps_do(w: float, count: int, slope: float) -> None:
    network = Sequential((Residual(Layers(count), w), Layers(2)))
    through = compose_map(network, lambda c: 1.0 - slope * (1.0 - c))
    assert 1.0 - through(1.0 - 1e-6) == pytest.approx(1e-6 * slope_at_one(network, slope), rel=1e-6)


@pytest.mark.parametrize("method", [dks, tat], ids=["dks", "tat"])
@pytest.mark.parametrize(("name", "words"), [("relu", "jumps"), ("linear", "finds no scale")])
def test_activations_that_cannot_be_shaped_are_refused(name: str, words: str, method: object) -> None:
    with pytest.raises(UsageError, match=words):
        method(nonlinearity(name), Layers(10))  # type: ignore[operator]


@pytest.mark.parametrize("network", [Layers(0), Sequential(()), Residual(Layers(1), 1.0), Residual(Layers(0), 0.5)], ids=str)
def test_networks_without_layers_are_refused(network: object) -> None:
    for method in (tat_leaky_relu, lambda n: dks(nonlinearity("tanh"), n), lambda n: tat(nonlinearity("tanh"), n)):
        with pytest.raises(UsageError, match="give"):
            method(network)  # type: ignore[arg-type]


def test_targets_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="above 1"):
        dks(nonlinearity("tanh"), Layers(5), slope=1.0)
    with pytest.raises(UsageError, match="above 0"):
        tat(nonlinearity("tanh"), Layers(5), curvature=0.0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        tat_leaky_relu(Layers(5), correlation=1.0)
