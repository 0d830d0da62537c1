"""Networks with a normalisation before each activation: predicted gains against simulated networks and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from activations import CATALOGUE, label

from unvanish.theory.criticality import LengthMap, Scale
from unvanish.theory.gradient_forecast import forecast
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity
from unvanish.theory.plain_network import Layer, Normalisation, Scheme, plain_network

BATCH, LAYER = Normalisation.BATCH, Normalisation.LAYER
DEPTH = 12


def one_layer(phi: Nonlinearity, kind: Normalisation) -> Layer:
    return Layer(phi, 64, 64, Scale(1.7, 0.0), normalisation=kind)


def normalise(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The normalised values and what they were divided by."""
    spread = values.std(axis=axis, keepdims=True)
    return (values - values.mean(axis=axis, keepdims=True)) / spread, spread


def simulate_gain(layer: Layer, *, batch: int, networks: int) -> float:
    """Mean log10 of the gradient's gain per layer, away from both ends of random networks of DEPTH such layers."""
    generator, axis, gains = np.random.default_rng(3), 0 if layer.normalisation is BATCH else 1, []
    width = int(layer.fan_in)
    for _ in range(networks):
        h, steps = normalise(generator.standard_normal((batch, width)), axis)[0], []
        for _ in range(DEPTH):
            weight = generator.standard_normal((width, width)) * math.sqrt(layer.scale.sw2 / width)
            after, spread = normalise(layer.phi.function(h) @ weight, axis)
            steps.append((weight, spread, after, layer.phi.derivative(h)))
            h = after
        gradient, sizes = generator.standard_normal((batch, width)), []
        for weight, spread, after, slope in reversed(steps):
            centred = gradient - gradient.mean(axis=axis, keepdims=True)
            gradient = slope * ((centred - after * np.mean(gradient * after, axis=axis, keepdims=True)) / spread @ weight.T)
            sizes.append(0.5 * math.log10(np.mean(gradient**2)))
        gains.append((sizes[-1] - sizes[2]) / (DEPTH - 3))
    return float(np.mean(gains))


@pytest.mark.parametrize("kind", [BATCH, LAYER])
@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "gelu", "elu"])
def test_normalised_layers_are_predicted_as_simulated(name: str, kind: Normalisation) -> None:
    layer = one_layer(nonlinearity(name), kind)
    measured = simulate_gain(layer, batch=128 if kind is BATCH else 16, networks=12)
    assert forecast([layer]).layers[0].gain == pytest.approx(measured, abs=0.01)


def test_batchnorm_and_relu_grow_the_squared_gradient_by_pi_over_pi_less_one() -> None:
    """Yang 2019, arXiv 1902.08129, whatever the weights; measured on digits: 1.44 to 1.49."""
    assert forecast([one_layer(nonlinearity("relu"), BATCH)]).layers[0].chi == pytest.approx(math.pi / (math.pi - 1.0), rel=1e-12)


@pytest.mark.parametrize("phi", CATALOGUE, ids=label)
def test_batchnorm_never_lets_the_gradient_shrink(phi: Nonlinearity) -> None:
    """The Gaussian Poincare inequality: Var phi is at most E[phi'^2], and equal for a straight line alone."""
    chi = forecast([one_layer(phi, BATCH)]).layers[0].chi
    assert chi == pytest.approx(1.0) if phi.name == "linear" else chi > 1.0


def test_batchnorm_saves_a_deep_sigmoid_network_and_layernorm_does_not() -> None:
    """Measured on digits at depth 50: 0.53 decades of growth with BatchNorm, and no learning with LayerNorm."""
    sigmoid, widths = nonlinearity("sigmoid"), [64] * 51
    with_batchnorm = forecast(plain_network(sigmoid, Scheme.PYTORCH, widths=widths, normalisation=BATCH)).layers[1].accumulated
    with_layernorm = forecast(plain_network(sigmoid, Scheme.PYTORCH, widths=widths, normalisation=LAYER)).layers[1].accumulated
    assert abs(with_batchnorm) < 1.0
    assert with_layernorm < -15.0


def test_a_normalisation_settles_every_length() -> None:
    gelu = nonlinearity("gelu")
    assert forecast(plain_network(gelu, Scheme.HE, widths=[64] * 51)).length_map is LengthMap.UNSTABLE
    for kind in (BATCH, LAYER):
        prediction = forecast(plain_network(gelu, Scheme.HE, widths=[64] * 51, normalisation=kind))
        assert prediction.length_map is LengthMap.STABLE
        assert [layer.q for layer in prediction.layers[1:]] == [1.0] * 49
