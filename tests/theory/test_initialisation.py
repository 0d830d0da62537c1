"""Critical scales: what they promise, checked through the maps, the forecast and simulated networks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unvanish.errors import UsageError
from unvanish.theory import maps
from unvanish.theory.criticality import LengthMap, Scale
from unvanish.theory.decades import forecast
from unvanish.theory.initialisation import LARGEST_GROWTH, critical_scale, critical_start, first_scale
from unvanish.theory.layers import Layer, Weights
from unvanish.theory.nonlinearity import names, nonlinearity

WITHOUT = ("sigmoid", "hard-sigmoid", "softplus")  # phi(0) is not zero
WITH = tuple(name for name in names() if name not in WITHOUT)


@pytest.mark.parametrize("q", [0.02, 0.5, 1.0, 5.0])
@pytest.mark.parametrize(
    "name", ["linear", "tanh", "erf", "relu", "leaky-relu", "hard-tanh", "softsign", "elu", "selu", "gelu", "silu", "mish"]
)
def test_a_critical_scale_keeps_length_and_gradient(name: str, q: float) -> None:
    phi = nonlinearity(name)
    scale = critical_scale(phi, q=q)
    assert maps.length(q, phi, sw2=scale.sw2, sb2=scale.sb2) == pytest.approx(q, rel=1e-9)
    assert maps.gain(q, phi, sw2=scale.sw2) == pytest.approx(1.0, rel=1e-12)


def test_the_critical_scale_of_relu_is_he() -> None:
    assert critical_scale(nonlinearity("relu"), q=1.0) == Scale(pytest.approx(2.0), pytest.approx(0.0, abs=1e-12))


def test_sigmoid_has_no_critical_scale_and_the_error_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="take another activation"):
        critical_scale(nonlinearity("sigmoid"), q=1.0)


@pytest.mark.parametrize("depth", [5, 50, 1000])
@pytest.mark.parametrize("name", WITH)
def test_a_critical_start_keeps_length_and_gradient_over_the_depth(name: str, depth: int) -> None:
    phi = nonlinearity(name)
    start = critical_start(phi, depth=depth)
    first = Layer(nonlinearity("linear"), 64, 64, first_scale(start, q=3.0))
    rest = (Layer(phi, 64, 64, start.scale),) * (depth - 1)
    found = forecast((first, *rest), q=3.0)
    assert found.length_map is LengthMap.STABLE
    assert found.layers[-1].q == pytest.approx(start.q, rel=1e-5)
    assert sum(layer.gain - layer.correction for layer in found.layers[1:]) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(("name", "q"), [("relu", 1.0), ("leaky-relu", 1.0), ("linear", 1.0), ("tanh", 0.02), ("selu", 0.02)])
def test_lengths_of_critical_starts_are_the_documented_ones(name: str, q: float) -> None:
    assert critical_start(nonlinearity(name), depth=50).q == q


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_an_unstable_critical_length_is_taken_shorter(name: str) -> None:
    phi = nonlinearity(name)
    start = critical_start(phi, depth=50)
    assert 1e-3 < start.q < 1.0 / 50.0
    assert float(maps.length_slope(start.q, phi, sw2=start.scale.sw2)) ** 50 <= LARGEST_GROWTH


@pytest.mark.parametrize("name", ["tanh", "gelu", "selu"])
def test_a_simulated_network_keeps_its_gradient_over_fifty_critical_layers(name: str) -> None:
    phi, draw, width, found = nonlinearity(name), np.random.default_rng(1), 64, []
    start = critical_start(phi, depth=50)
    for _ in range(20):
        h, steps = draw.standard_normal(width) * math.sqrt(start.q), []
        for _ in range(50):
            frame, triangle = np.linalg.qr(draw.standard_normal((width, width)))
            steps.append((frame * np.sign(np.diag(triangle)) * math.sqrt(start.scale.sw2), phi.derivative(h)))
            h = steps[-1][0] @ phi.function(h) + draw.standard_normal(width) * math.sqrt(start.scale.sb2)
        gradient = draw.standard_normal(width)
        begin = np.mean(gradient**2)
        for weight, slope in reversed(steps):
            gradient = slope * (weight.T @ gradient)
        found.append(0.5 * math.log10(np.mean(gradient**2) / begin))
    layers = (Layer(phi, width, width, start.scale, Weights.ORTHOGONAL),) * 50
    predicted = forecast(layers, q=start.q).decades
    assert np.mean(found) == pytest.approx(predicted, abs=0.15)
    assert abs(np.mean(found)) < 0.5


@pytest.mark.parametrize("name", WITHOUT)
def test_an_activation_that_is_not_zero_at_zero_has_no_critical_start(name: str) -> None:
    with pytest.raises(UsageError, match="lengthen the signal"):
        critical_start(nonlinearity(name), depth=10)


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one layer"):
        critical_start(nonlinearity("tanh"), depth=0)
