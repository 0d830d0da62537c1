"""Critical scales and initialisations, checked with the maps, the forecast and simulated networks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unvanish.errors import UsageError
from unvanish.theory import mean_field_maps
from unvanish.theory.criticality import LengthMap, Scale
from unvanish.theory.gradient_forecast import forecast
from unvanish.theory.initialisation import LARGEST_GROWTH, critical_initialisation, critical_scale, first_layer_scale
from unvanish.theory.nonlinearity import nonlinearity, nonlinearity_names
from unvanish.theory.plain_network import Layer, Weights

WITHOUT = ("sigmoid", "hard-sigmoid", "softplus")  # phi(0) is not zero
WITH = tuple(name for name in nonlinearity_names() if name not in WITHOUT)


@pytest.mark.parametrize("q", [0.02, 0.5, 1.0, 5.0])
@pytest.mark.parametrize(
    "name", ["linear", "tanh", "erf", "relu", "leaky-relu", "hard-tanh", "softsign", "elu", "selu", "gelu", "silu", "mish"]
)
def test_a_critical_scale_keeps_length_and_gradient(name: str, q: float) -> None:
    phi = nonlinearity(name)
    scale = critical_scale(phi, q=q)
    assert mean_field_maps.length(q, phi, sw2=scale.sw2, sb2=scale.sb2) == pytest.approx(q, rel=1e-9)
    assert mean_field_maps.gain(q, phi, sw2=scale.sw2) == pytest.approx(1.0, rel=1e-12)


def test_the_critical_scale_of_relu_is_he() -> None:
    assert critical_scale(nonlinearity("relu"), q=1.0) == Scale(pytest.approx(2.0), pytest.approx(0.0, abs=1e-12))


def test_sigmoid_has_no_critical_scale_and_the_error_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="take another activation"):
        critical_scale(nonlinearity("sigmoid"), q=1.0)


@pytest.mark.parametrize("depth", [5, 50, 1000])
@pytest.mark.parametrize("name", WITH)
def test_a_critical_initialisation_keeps_length_and_gradient_over_the_depth(name: str, depth: int) -> None:
    phi = nonlinearity(name)
    start = critical_initialisation(phi, depth=depth)
    first = Layer(nonlinearity("linear"), 64, 64, first_layer_scale(start, q=3.0))
    rest = (Layer(phi, 64, 64, start.scale),) * (depth - 1)
    prediction = forecast((first, *rest), q=3.0)
    assert prediction.length_map is LengthMap.STABLE
    assert prediction.layers[-1].q == pytest.approx(start.q, rel=1e-5)
    assert sum(layer.gain - layer.correction for layer in prediction.layers[1:]) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(("name", "q"), [("relu", 1.0), ("leaky-relu", 1.0), ("linear", 1.0), ("tanh", 0.02), ("selu", 0.02)])
def test_lengths_of_critical_initialisations_are_the_documented_ones(name: str, q: float) -> None:
    assert critical_initialisation(nonlinearity(name), depth=50).q == q


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_an_unstable_critical_length_is_shortened(name: str) -> None:
    phi = nonlinearity(name)
    start = critical_initialisation(phi, depth=50)
    assert 1e-3 < start.q < 1.0 / 50.0
    assert float(mean_field_maps.length_slope(start.q, phi, sw2=start.scale.sw2)) ** 50 <= LARGEST_GROWTH


@pytest.mark.parametrize("name", ["tanh", "gelu", "selu"])
def test_a_simulated_network_keeps_its_gradient_over_fifty_critical_layers(name: str) -> None:
    phi, generator, width, simulated = nonlinearity(name), np.random.default_rng(1), 64, []
    start = critical_initialisation(phi, depth=50)
    for _ in range(20):
        h, steps = generator.standard_normal(width) * math.sqrt(start.q), []
        for _ in range(50):
            orthogonal, upper = np.linalg.qr(generator.standard_normal((width, width)))
            steps.append((orthogonal * np.sign(np.diag(upper)) * math.sqrt(start.scale.sw2), phi.derivative(h)))
            h = steps[-1][0] @ phi.function(h) + generator.standard_normal(width) * math.sqrt(start.scale.sb2)
        gradient = generator.standard_normal(width)
        output_size = np.mean(gradient**2)
        for weight, slope in reversed(steps):
            gradient = slope * (weight.T @ gradient)
        simulated.append(0.5 * math.log10(np.mean(gradient**2) / output_size))
    layers = (Layer(phi, width, width, start.scale, Weights.ORTHOGONAL),) * 50
    predicted = forecast(layers, q=start.q).decades
    assert np.mean(simulated) == pytest.approx(predicted, abs=0.15)
    assert abs(np.mean(simulated)) < 0.5


@pytest.mark.parametrize("name", WITHOUT)
def test_an_activation_that_is_not_zero_at_zero_has_no_critical_initialisation(name: str) -> None:
    with pytest.raises(UsageError, match="lengthen the signal"):
        critical_initialisation(nonlinearity(name), depth=10)


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one layer"):
        critical_initialisation(nonlinearity("tanh"), depth=0)
