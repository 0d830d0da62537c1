"""Forecasts against decades measured with data and against simulated networks of finite width, and their errors."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from plain_networks import simulate_decades

from unvanish.errors import UsageError
from unvanish.theory.criticality import LengthMap, Scale, criticality
from unvanish.theory.gradient_forecast import Forecast, forecast, width_correction
from unvanish.theory.nonlinearity import nonlinearity
from unvanish.theory.plain_network import Layer, Scheme, Weights, plain_network, scheme_scale

# Fifty layers of width 64 at PyTorch's default initialisation, inputs of mean square one: decades between the pre-activations of
# the first and of the last layer, predicted and (last) measured on scikit-learn's digits.
FIFTY_LAYERS = (
    ("sigmoid", -41.84, -41.80),
    ("tanh", -12.14, -12.12),
    ("gelu", -26.37, -26.27),
    ("silu", -26.50, -26.42),
    ("relu", -19.48, -19.19),
)


def predicted_decades(prediction: Forecast) -> float:
    assert prediction.decades is not None
    return prediction.decades


@pytest.mark.parametrize(("name", "predicted", "measured"), FIFTY_LAYERS)
def test_fifty_layers_at_the_default_initialisation_lose_what_was_measured(name: str, predicted: float, measured: float) -> None:
    accumulated = forecast(plain_network(nonlinearity(name), Scheme.PYTORCH, widths=[64] * 51)).layers[1].accumulated
    assert accumulated == pytest.approx(predicted, abs=0.006)
    assert accumulated == pytest.approx(measured, abs=0.5 if name == "relu" else 0.2)


@pytest.mark.parametrize("kind", list(Weights))
@pytest.mark.parametrize(("name", "sw2", "sb2"), [("tanh", 1.4, 0.05), ("relu", 2.0, 0.0), ("hard-tanh", 2.0, 0.02)])
def test_the_width_correction_is_that_of_simulated_networks(name: str, sw2: float, sb2: float, kind: Weights) -> None:
    layers = (Layer(nonlinearity(name), 24, 24, Scale(sw2, sb2), kind),) * 20
    mean, error = simulate_decades(layers, networks=300)
    prediction = forecast(layers)
    assert predicted_decades(prediction) == pytest.approx(mean, abs=3.5 * error + 0.03)
    infinite = predicted_decades(prediction) - sum(layer.correction for layer in prediction.layers)
    assert abs(infinite - mean) > abs(predicted_decades(prediction) - mean)


@pytest.mark.parametrize("kind", list(Weights))
@pytest.mark.parametrize("widths", [(24, 72, 24, 72, 24), (64, 32, 16, 8)])
def test_layers_that_widen_and_narrow_are_predicted_too(widths: tuple[int, ...], kind: Weights) -> None:
    relu = nonlinearity("relu")
    layers = tuple(Layer(relu, fan_in, fan_out, Scale(2.0, 0.0), kind) for fan_in, fan_out in pairwise(widths))
    mean, error = simulate_decades(layers, networks=1500)
    assert predicted_decades(forecast(layers)) == pytest.approx(mean, abs=3.5 * error + 0.02)


@pytest.mark.parametrize("kappa", [1.0, 2.0])
def test_square_layers_have_the_known_corrections(kappa: float) -> None:
    gaussian = width_correction(kappa, fan_in=64, fan_out=64, weights=Weights.GAUSSIAN)
    assert gaussian == pytest.approx(-(3.0 * kappa - 1.0) / 128.0)
    orthogonal = width_correction(kappa, fan_in=64, fan_out=64, weights=Weights.ORTHOGONAL)
    assert orthogonal == pytest.approx(-3.0 * (kappa - 1.0) / 128.0)


def test_an_orthogonal_linear_network_loses_nothing() -> None:
    layers = (Layer(nonlinearity("linear"), 32, 32, Scale(1.0, 0.0), Weights.ORTHOGONAL),) * 1000
    assert predicted_decades(forecast(layers)) == pytest.approx(0.0, abs=1e-9)


def test_gains_add_up_to_the_whole_from_the_loss_down() -> None:
    prediction = forecast(plain_network(nonlinearity("tanh"), Scheme.GLOROT, widths=[16, 64, 32, 10]))
    gains = [layer.gain for layer in prediction.layers]
    assert prediction.decades == pytest.approx(sum(gains), rel=1e-12)
    assert [layer.accumulated for layer in prediction.layers] == pytest.approx([sum(gains[index:]) for index in range(3)])


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_deep_he_networks_with_an_unstable_length_get_no_number(name: str) -> None:
    prediction = forecast(plain_network(nonlinearity(name), Scheme.HE, widths=[64] * 31))
    assert (prediction.length_map, prediction.decades, prediction.layers) == (LengthMap.UNSTABLE, None, ())
    assert prediction.growth > 2.0


STABLE = [(name, scheme) for name in ("tanh", "relu", "elu", "softsign") for scheme in Scheme]
NEARLY_UNSTABLE = [("gelu", Scheme.GLOROT), ("silu", Scheme.GLOROT), ("mish", Scheme.GLOROT)]  # deviations grow up to 1.73-fold


@pytest.mark.parametrize(("name", "scheme"), STABLE + NEARLY_UNSTABLE)
def test_every_scheme_is_predicted_as_simulated(name: str, scheme: Scheme) -> None:
    layers = plain_network(nonlinearity(name), scheme, widths=[48] * 16)
    mean, error = simulate_decades(layers, networks=100)
    assert predicted_decades(forecast(layers)) == pytest.approx(mean, abs=3.5 * error + 0.03)


@pytest.mark.parametrize("sw2", [0.1, 10.0])
def test_signals_beyond_any_float_still_have_a_prediction(sw2: float) -> None:
    layers = (Layer(nonlinearity("relu"), 10**9, 10**9, Scale(sw2, 0.0)),) * 1500
    assert predicted_decades(forecast(layers)) == pytest.approx(750.0 * math.log10(sw2 / 2.0), rel=1e-6)


def test_measured_weights_are_predicted_as_well_as_drawn_ones() -> None:
    """Uniform weights with a scale and a bias of their own in every layer, handed over as their mean squares."""
    generator, tanh, simulated, predicted = np.random.default_rng(8), nonlinearity("tanh"), [], []
    for _ in range(30):
        h, steps, layers = generator.standard_normal(40), [], []
        for _ in range(15):
            matrix = generator.uniform(-1.0, 1.0, (40, 40)) * generator.uniform(0.15, 0.4)
            bias = generator.uniform(-1.0, 1.0, 40) * generator.uniform(0.0, 0.5)
            layers.append(Layer(tanh, 40, 40, Scale(40 * float(np.mean(matrix**2)), float(np.mean(bias**2)))))
            steps.append((matrix, tanh.derivative(h)))
            h = matrix @ np.tanh(h) + bias
        gradient = generator.standard_normal(40)
        start = np.mean(gradient**2)
        for matrix, slope in reversed(steps):
            gradient = slope * (matrix.T @ gradient)
        simulated.append(0.5 * math.log10(np.mean(gradient**2) / start))
        predicted.append(predicted_decades(forecast(layers)))
    errors = np.array(predicted) - np.array(simulated)
    assert abs(errors.mean()) < 0.1
    assert errors.std() < 0.75 * np.std(simulated)


def test_a_thousand_settled_layers_are_predicted_as_their_fixed_point_says() -> None:
    """Beyond its first layers a network only repeats its fixed point; the other oracle is `criticality`."""
    tanh, scale = nonlinearity("tanh"), Scale(1.4, 0.05)
    fixed = criticality(tanh, scale).fixed_point
    assert fixed is not None
    last = forecast((Layer(tanh, 10**9, 10**9, scale),) * 1000).layers[-1]
    assert (last.q, last.chi) == (pytest.approx(fixed.q, rel=1e-9), pytest.approx(fixed.chi, rel=1e-9))
    assert last.gain == pytest.approx(-0.5 / fixed.xi_grad / math.log(10.0), rel=1e-6)


def convolve(matrices: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """A circular convolution along the last axis; `matrices` is kernel size by channels out by channels in."""
    return sum(matrix @ np.roll(signal, place, axis=-1) for place, matrix in enumerate(matrices))  # type: ignore[return-value]


@pytest.mark.parametrize("channels", [(12, 24, 12, 24, 12), (32, 16, 8)])
def test_convolutions_count_every_weight_that_enters_or_leaves_a_unit(channels: tuple[int, ...]) -> None:
    generator, relu, kernel, simulated = np.random.default_rng(2), nonlinearity("relu"), 3, []
    layers = tuple(Layer(relu, kernel * low, kernel * high, Scale(2.0, 0.0)) for low, high in pairwise(channels))
    for _ in range(200):
        h, steps = generator.standard_normal((channels[0], 20)), []
        for low, high in pairwise(channels):
            steps.append((generator.standard_normal((kernel, high, low)) * math.sqrt(2.0 / (kernel * low)), relu.derivative(h)))
            h = convolve(steps[-1][0], relu.function(h))
        gradient = generator.standard_normal(h.shape)
        start = np.sqrt(np.mean(gradient**2))
        for matrices, slope in reversed(steps):
            back = sum(matrix.T @ np.roll(gradient, -place, axis=-1) for place, matrix in enumerate(matrices))
            gradient = slope * back
        simulated.append(math.log10(np.sqrt(np.mean(gradient**2)) / start))
    assert predicted_decades(forecast(layers)) == pytest.approx(float(np.mean(simulated)), abs=0.05)


def test_schemes_have_the_variances_of_their_definitions() -> None:
    generator = np.random.default_rng(5)
    uniform = generator.uniform(-1.0 / math.sqrt(40), 1.0 / math.sqrt(40), 200_000)
    scale = scheme_scale(Scheme.PYTORCH, fan_in=40, fan_out=10)
    assert (scale.sw2, scale.sb2) == (pytest.approx(40 * uniform.var(), rel=0.01), pytest.approx(uniform.var(), rel=0.01))
    assert scheme_scale(Scheme.GLOROT, fan_in=30, fan_out=10) == Scale(1.5, 0.0)
    assert scheme_scale(Scheme.HE, fan_in=30, fan_out=10) == Scale(2.0, 0.0)


def test_layers_that_pass_nothing_lose_everything() -> None:
    prediction = forecast([Layer(nonlinearity("tanh"), 8, 8, Scale(0.0, 0.0))])
    assert prediction.decades == -math.inf


@pytest.mark.parametrize(
    ("layers", "q", "words"),
    [
        ([], 1.0, "at least one layer"),
        ([Layer(nonlinearity("tanh"), 0, 4, Scale(1.0, 0.0))], 1.0, "layer 0 has fan_in 0"),
        ([Layer(nonlinearity("tanh"), 4, 4, Scale(1.0, 0.0))], -1.0, "mean square"),
    ],
)
def test_layers_that_make_no_network_are_refused(layers: list[Layer], q: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        forecast(layers, q=q)
