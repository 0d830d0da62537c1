"""The scatter of single networks about the forecast, against known cases and simulated networks."""

from __future__ import annotations

import math

import pytest
from plain_networks import simulate_decades

from unvanish.theory.criticality import Scale
from unvanish.theory.gradient_forecast import forecast
from unvanish.theory.nonlinearity import nonlinearity
from unvanish.theory.plain_network import Layer, Normalisation, Scheme, Weights, scheme_scale


@pytest.mark.parametrize(("name", "kurtosis"), [("linear", 1.0), ("relu", 2.0)])
@pytest.mark.parametrize("kind", list(Weights))
def test_where_the_gain_ignores_the_length_only_layers_by_themselves_scatter(name: str, kurtosis: float, kind: Weights) -> None:
    layers = (Layer(nonlinearity(name), 64, 64, Scale(2.0, 0.0), kind),) * 50
    variance = 50 * (3.0 * kurtosis - (1.0 if kind is Weights.GAUSSIAN else 3.0)) / 64.0
    assert forecast(layers).scatter == pytest.approx(0.5 * math.sqrt(variance) / math.log(10.0), abs=1e-9)


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize(("name", "kind"), [("tanh", Weights.GAUSSIAN), ("elu", Weights.GAUSSIAN), ("relu", Weights.ORTHOGONAL)])
def test_the_scatter_is_that_of_simulated_networks(name: str, scheme: Scheme, kind: Weights) -> None:
    layers = (Layer(nonlinearity(name), 32, 32, scheme_scale(scheme, fan_in=32, fan_out=32), kind),) * 15
    networks = 150
    _, error = simulate_decades(layers, networks=networks)
    assert forecast(layers).scatter == pytest.approx(error * math.sqrt(networks), rel=0.25)  # chance alone: 6 %


def test_a_length_that_lasts_adds_to_the_scatter() -> None:
    layers = (Layer(nonlinearity("tanh"), 32, 32, Scale(1.0, 0.0)),) * 15
    prediction = forecast(layers)
    gains_alone = math.sqrt(sum((3.0 * layer.kappa - 1.0) / 32.0 for layer in prediction.layers)) / (2.0 * math.log(10.0))
    networks = 250
    measured = simulate_decades(layers, networks=networks)[1] * math.sqrt(networks)
    assert prediction.scatter is not None
    assert abs(prediction.scatter - measured) < abs(gains_alone - measured)


def test_an_unstable_length_has_no_scatter_and_no_weights_have_none() -> None:
    gelu = nonlinearity("gelu")
    assert forecast((Layer(gelu, 48, 48, Scale(2.0, 0.0)),) * 30).scatter is None
    assert forecast((Layer(gelu, 48, 48, Scale(0.0, 0.0)),) * 3).scatter == 0.0


def test_a_normalisation_keeps_the_scatter_of_lengths_from_later_gains() -> None:
    softsign = nonlinearity("softsign")
    plain, normalised = (
        forecast((Layer(softsign, 48, 48, Scale(3.0, 0.1), normalisation=kind),) * 30)
        for kind in (Normalisation.NONE, Normalisation.LAYER)
    )
    assert normalised.scatter is not None
    assert normalised.scatter == pytest.approx(
        math.sqrt(sum((3.0 * layer.kappa - 1.0) / 48.0 for layer in normalised.layers)) / (2.0 * math.log(10.0))
    )
    assert plain.scatter != normalised.scatter
