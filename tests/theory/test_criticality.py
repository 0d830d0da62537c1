"""Fixed points and depth scales against closed forms, iteration, and simulated networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from activations import CATALOGUE, label

from unvanish.errors import UsageError
from unvanish.theory import mean_field_maps
from unvanish.theory.criticality import FixedPoint, LengthMap, Phase, Scale, criticality
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity


def fixed_point(name: str, sw2: float, sb2: float) -> FixedPoint:
    fixed = criticality(nonlinearity(name), Scale(sw2, sb2)).fixed_point
    assert fixed is not None
    return fixed


def test_relu_with_a_bias_has_the_closed_form_fixed_point() -> None:
    fixed = fixed_point("relu", 1.5, 0.1)
    assert fixed.q == pytest.approx(0.1 / (1.0 - 0.75), rel=1e-12)
    assert (fixed.c, fixed.chi, fixed.phase) == (1.0, pytest.approx(0.75), Phase.ORDERED)
    assert fixed.xi_grad == pytest.approx(-1.0 / math.log(0.75))
    assert fixed.trainable_depth == pytest.approx(6.0 * fixed.xi_c)


@pytest.mark.parametrize("phi", CATALOGUE, ids=label)
@pytest.mark.parametrize("scale", [Scale(1.0 / 3.0, 0.01), Scale(1.2, 0.1)], ids=str)
def test_the_fixed_length_is_where_iteration_ends(phi: Nonlinearity, scale: Scale) -> None:
    result = criticality(phi, scale)
    q = 1.0
    for _ in range(300):
        q = float(mean_field_maps.length(q, phi, sw2=scale.sw2, sb2=scale.sb2))
    if result.fixed_point is None:
        assert result.length_map is LengthMap.UNSTABLE
    elif result.length_map is LengthMap.STABLE:
        assert result.fixed_point.q == pytest.approx(q, rel=1e-6)


def test_tanh_is_ordered_critical_and_chaotic_in_turn() -> None:
    assert fixed_point("tanh", 0.9, 0.0).phase is Phase.ORDERED
    assert fixed_point("tanh", 1.0, 0.0).phase is Phase.CRITICAL
    assert fixed_point("tanh", 3.0, 0.05).phase is Phase.CHAOTIC


def test_in_the_chaotic_phase_correlations_settle_below_one() -> None:
    fixed, tanh = fixed_point("tanh", 3.0, 0.05), nonlinearity("tanh")
    assert 0.0 < fixed.c < 1.0
    assert mean_field_maps.correlation(fixed.c, tanh, q=fixed.q, sw2=3.0, sb2=0.05) == pytest.approx(fixed.c, abs=1e-10)
    slope = float(mean_field_maps.correlation_slope(fixed.c, tanh, q=fixed.q, sw2=3.0, sb2=0.05))
    assert fixed.xi_c == pytest.approx(-1.0 / math.log(slope), rel=1e-6)


def test_in_the_ordered_phase_information_fades_as_fast_as_the_gradient() -> None:
    fixed = fixed_point("erf", 1.3, 0.05)
    assert fixed.xi_c == pytest.approx(fixed.xi_grad, rel=1e-9)


@pytest.mark.parametrize("sw2", [0.7, 1.3])
def test_the_depth_scale_is_that_of_a_simulated_wide_network(sw2: float) -> None:
    fixed, tanh, n, depth = fixed_point("tanh", sw2, 0.05), nonlinearity("tanh"), 500, 14
    generator = np.random.default_rng(7)
    first = generator.standard_normal((n, 40)) * math.sqrt(fixed.q)
    second = 0.9 * first + math.sqrt(1.0 - 0.81) * generator.standard_normal((n, 40)) * math.sqrt(fixed.q)
    distances: list[float] = []
    for _ in range(depth):
        weight, bias = generator.standard_normal((n, n)) * math.sqrt(sw2 / n), generator.standard_normal((n, 1)) * math.sqrt(0.05)
        first, second = weight @ tanh.function(first) + bias, weight @ tanh.function(second) + bias
        distances.append(float(np.mean((first - second) ** 2)))
    measured = -1.0 / np.polyfit(np.arange(depth - 6), np.log(distances[6:]), 1)[0]
    assert measured == pytest.approx(fixed.xi_c, rel=0.05)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish"])
def test_an_unstable_length_map_gets_no_number(name: str) -> None:
    result = criticality(nonlinearity(name), Scale(2.0, 0.0))
    assert (result.length_map, result.fixed_point) == (LengthMap.UNSTABLE, None)


def test_lengths_that_stay_or_grow_are_neutral_or_diverging() -> None:
    relu = nonlinearity("relu")
    assert criticality(relu, Scale(2.0, 0.0), q=0.3).length_map is LengthMap.NEUTRAL
    grown = criticality(relu, Scale(3.0, 0.0))
    assert grown.length_map is LengthMap.DIVERGING
    assert grown.fixed_point is not None
    assert (grown.fixed_point.q, grown.fixed_point.chi) == (math.inf, pytest.approx(1.5))
    slow = criticality(nonlinearity("softplus"), Scale(2.0, 0.0))
    assert (slow.length_map, slow.fixed_point and slow.fixed_point.phase) == (LengthMap.DIVERGING, Phase.CRITICAL)


def test_no_weights_leave_the_bias_alone() -> None:
    assert fixed_point("tanh", 0.0, 0.1).q == pytest.approx(0.1)
    assert fixed_point("tanh", 0.0, 0.0).chi == 0.0


@pytest.mark.parametrize(("scale", "q"), [(Scale(-1.0, 0.0), 1.0), (Scale(1.0, float("nan")), 1.0), (Scale(1.0, 0.0), 0.0)])
def test_impossible_variances_and_lengths_are_refused(scale: Scale, q: float) -> None:
    with pytest.raises(UsageError, match="give"):
        criticality(nonlinearity("tanh"), scale, q=q)
