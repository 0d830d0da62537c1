"""The maps against closed forms and quadrature, and properties that hold for every activation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from activations import CATALOGUE, LENGTHS, adaptive_expectation, label
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.theory import mean_field_maps
from unvanish.theory.criticality import Scale, criticality
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity

TANH, ERF, RELU = nonlinearity("tanh"), nonlinearity("erf"), nonlinearity("relu")
ANY = st.sampled_from(CATALOGUE)
PLAIN = {"deadline": None, "max_examples": 40}


@pytest.mark.parametrize("q", LENGTHS)
def test_erfs_length_and_gain_have_their_closed_forms(q: float) -> None:
    length = 1.7 * 2.0 / math.pi * math.asin(2.0 * q / (1.0 + 2.0 * q)) + 0.2
    assert mean_field_maps.length(q, ERF, sw2=1.7, sb2=0.2) == pytest.approx(length, rel=1e-12)
    assert mean_field_maps.gain(q, ERF, sw2=1.7) == pytest.approx(1.7 * 4.0 / math.pi / math.sqrt(1.0 + 4.0 * q), rel=1e-12)


@pytest.mark.parametrize("q", LENGTHS)
def test_relu_halves_the_length_and_the_gain(q: float) -> None:
    assert mean_field_maps.length(q, RELU, sw2=2.0) == pytest.approx(q, rel=1e-13)
    assert mean_field_maps.gain(q, RELU, sw2=2.0) == pytest.approx(1.0, rel=1e-13)
    assert mean_field_maps.kurtosis(q, RELU) == pytest.approx(2.0, rel=1e-13)


@pytest.mark.parametrize("q", LENGTHS)
def test_tanhs_mean_slope_agrees_with_adaptive_quadrature(q: float) -> None:
    std = math.sqrt(q)
    assert mean_field_maps.expectation(TANH.derivative, std) == pytest.approx(adaptive_expectation(TANH.derivative, std), rel=1e-11)


@pytest.mark.parametrize("phi", CATALOGUE, ids=label)
def test_the_slope_of_the_length_map_is_its_difference_quotient(phi: Nonlinearity) -> None:
    q, step = 0.8, 1e-4
    difference = (mean_field_maps.length(q + step, phi, sw2=1.5) - mean_field_maps.length(q - step, phi, sw2=1.5)) / (2.0 * step)
    assert mean_field_maps.length_slope(q, phi, sw2=1.5) == pytest.approx(float(difference), rel=1e-6)


@given(phi=ANY, q=st.floats(1e-4, 100.0), sw2=st.floats(0.1, 5.0), sb2=st.floats(0.0, 1.0))
@settings(**PLAIN)
def test_one_is_a_fixed_point_of_every_correlation_map(phi: Nonlinearity, q: float, sw2: float, sb2: float) -> None:
    assert mean_field_maps.correlation(1.0, phi, q=q, sw2=sw2, sb2=sb2) == pytest.approx(1.0, abs=1e-12)


@given(phi=ANY, q=st.floats(1e-4, 100.0), times=st.floats(1.01, 10.0))
@settings(**PLAIN)
def test_a_longer_signal_stays_the_longer_one(phi: Nonlinearity, q: float, times: float) -> None:
    shorter, longer = mean_field_maps.length(np.array([q, q * times]), phi, sw2=1.3, sb2=0.1)
    assert shorter < longer


@given(phi=ANY, sw2=st.floats(0.3, 4.0), sb2=st.floats(0.01, 0.5))
@settings(deadline=None, max_examples=20)
def test_at_the_fixed_point_the_gain_is_the_slope_of_the_correlation_map_at_one(phi: Nonlinearity, sw2: float, sb2: float) -> None:
    fixed = criticality(phi, Scale(sw2, sb2)).fixed_point
    if fixed is not None and 0.0 < fixed.q < math.inf:
        slope = mean_field_maps.correlation_slope(1.0, phi, q=fixed.q, sw2=sw2, sb2=sb2)
        assert slope == pytest.approx(fixed.chi, rel=1e-9)


@given(phi=ANY, q=st.floats(0.01, 30.0))
@settings(**PLAIN)
def test_kurtosis_is_at_least_one(phi: Nonlinearity, q: float) -> None:
    assert mean_field_maps.kurtosis(q, phi) >= 1.0 - 1e-12


@pytest.mark.parametrize("phi", [TANH, RELU, nonlinearity("gelu")], ids=label)
def test_the_slope_of_the_correlation_map_is_its_difference_quotient(phi: Nonlinearity) -> None:
    c, step = 0.4, 1e-4
    low, high = mean_field_maps.correlation(np.array([c - step, c + step]), phi, q=0.9, sw2=1.6, sb2=0.1)
    assert mean_field_maps.correlation_slope(c, phi, q=0.9, sw2=1.6, sb2=0.1) == pytest.approx(
        (high - low) / (2.0 * step), rel=1e-6
    )


def test_maps_take_arrays_of_any_shape() -> None:
    q = np.linspace(0.1, 2.0, 6).reshape(2, 3)
    for values in (
        mean_field_maps.length(q, TANH, sw2=1.0),
        mean_field_maps.gain(q, TANH, sw2=1.0),
        mean_field_maps.kurtosis(q, TANH),
        mean_field_maps.length_slope(q, TANH, sw2=1.0),
    ):
        assert values.shape == (2, 3)
    assert mean_field_maps.correlation(np.zeros((2, 1)), TANH, q=q, sw2=1.0).shape == (2, 3)
