"""How many decades of its gradient a plain network of finite depth and width loses, predicted before its first step.

Predictions are for the expected logarithm at random weights, and for how far one network scatters about it. They fail where the
length map is unstable (GELU, SiLU, Mish and hard swish with He weights beyond some ten layers): the answer then is "unstable" and
no number. One known miss has a stable length: softplus with He weights and no bias loses 0.2 decades less than predicted at depth
30, 0.7 at depth 50 (width 64). Nothing here looks at data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np

from unvanish.errors import UsageError
from unvanish.theory import maps
from unvanish.theory.criticality import UNSTABLE_GROWTH, LengthMap, checked_length, elasticity, growth
from unvanish.theory.layer_variance import NO_CHANCE, LayerVariance, layer_variance, scatter
from unvanish.theory.layers import Layer, Normalisation, Weights

EXTREME = 1e150  # lengths are followed between its inverse and it: squares stay finite, and chi has long reached its limit


@dataclass(frozen=True, slots=True)
class LayerForecast:
    """What theory says of one layer. Gains are log10 of the gradient's RMS at h over that at h'.

    `q` is the length of h; `chi` is the mean squared gain of an endlessly wide square layer, normalisation included; `correction`
    is the part of `gain` that the finite width takes; `accumulated` is the gain from the output of the last layer down to h.
    """

    q: float
    chi: float
    kappa: float
    correction: float
    gain: float
    accumulated: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The layers in order, and the whole in decades: log10 of the gradient's RMS at the input over that at the output.

    `scatter` is the standard deviation of the decades that one network loses, about `decades`. Where the length map is unstable,
    both are None and `layers` is empty; `growth` says how far a deviation grows.
    """

    length_map: LengthMap
    growth: float
    decades: float | None
    scatter: float | None
    layers: tuple[LayerForecast, ...]


@dataclass(frozen=True, slots=True)
class _Passage:
    """What one layer does at one length: the length it gives on, the elasticity of that, its part of the gain, and its chance."""

    following: float
    elasticity: float
    chi: float
    kappa: float
    correction: float
    gain: float
    variance: LayerVariance


def forecast(layers: Sequence[Layer], *, q: float = 1.0) -> Forecast:
    """The predicted gain of every layer and of the whole, for inputs of mean square `q`; under a BatchNorm, of variance `q`.

    Raises UsageError for no layers, a width below one, or a `q` that is not positive. Cost: about 0.5 ms a layer, until the
    length settles.
    """
    checked_length(q)
    _refuse(layers)
    through = cache(_through)
    lengths: list[float] = []
    passages: list[_Passage] = []
    for layer in layers:
        lengths.append(q)
        passages.append(through(layer, q))
        q = min(max(passages[-1].following, 1.0 / EXTREME), EXTREME)
    # The last layer's own length map reaches no further slope, so it cannot spoil the prediction.
    elasticities = [passage.elasticity for passage in passages]
    worst = growth(np.array(lengths[:-1]), np.array(elasticities[:-1]))
    if worst > UNSTABLE_GROWTH:
        return Forecast(LengthMap.UNSTABLE, worst, None, None, ())
    totals = list(accumulate(passage.gain for passage in reversed(passages)))[::-1]
    found = tuple(
        LayerForecast(length, passage.chi, passage.kappa, passage.correction, passage.gain, total)
        for length, passage, total in zip(lengths, passages, totals, strict=True)
    )
    return Forecast(LengthMap.STABLE, worst, totals[0], scatter([passage.variance for passage in passages], elasticities), found)


def width_correction(kappa: float, *, fan_in: float, fan_out: float, weights: Weights) -> float:
    """The expected natural logarithm of the squared gradient's ratio over a layer, less its value at infinite width.

    Gaussian: -(3 kappa - 1) / (2 fan_in). Orthogonal: -(3 kappa - 1) / (2 fan_in) + 1 / max(fan_in, fan_out), for square layers
    -3 (kappa - 1) / (2 fan_in). Second-order expansions of E[ln], derived for this project; simulated in tests/theory. For a
    convolution it is a compromise: none is needed where positions differ, that of in_channels where they are all alike.
    """
    gaussian = -(3.0 * kappa - 1.0) / (2.0 * fan_in)
    return gaussian if weights is Weights.GAUSSIAN else gaussian + 1.0 / max(fan_in, fan_out)


def _through(layer: Layer, q: float) -> _Passage:
    """The passage of signals of length `q` and of the gradient through one layer; correction and gain in decades of RMS.

    An RMS is a mean over units, so a layer that widens towards the loss gains fan_out / fan_in. A normalisation ends every
    deviation of the length, and divides the gradient by what it divides the signal by.
    """
    spread = _spread(layer, q)
    plain = layer.normalisation is Normalisation.NONE
    bent = elasticity(q, layer.phi, sw2=layer.scale.sw2, following=spread) if plain else 0.0
    following = spread if plain else 1.0
    chi = float(maps.gain(q, layer.phi, sw2=layer.scale.sw2))
    if chi == 0.0:
        return _Passage(following, bent, 0.0, math.inf, 0.0, -math.inf, NO_CHANCE)
    chi /= 1.0 if plain else spread
    kappa = float(maps.kurtosis(q, layer.phi))
    finite = width_correction(kappa, fan_in=layer.fan_in, fan_out=layer.fan_out, weights=layer.weights) if plain else 0.0
    correction = finite / (2.0 * math.log(10.0))
    gain = 0.5 * math.log10(chi * layer.fan_out / layer.fan_in) + correction
    return _Passage(following, bent, chi, kappa, correction, gain, layer_variance(layer, q, kappa=kappa, following=following))


def _spread(layer: Layer, q: float) -> float:
    """The mean square of W phi(h) + b, or under a BatchNorm its variance over the batch.

    A BatchNorm keeps the examples uncorrelated, so that the mean of phi is all that they share: the variance is sw2 Var phi, and
    chi = E[phi'^2] / Var phi, for ReLU pi / (pi - 1) = 1.467 (Yang 2019, arXiv 1902.08129), never below one (Poincare). A
    LayerNorm divides by the length as it is. Both hold to a few per cent of a layer's squared gain from width and batch 64 on,
    without a correction (simulated in tests/theory).
    """
    if layer.normalisation is Normalisation.BATCH:
        mean = float(maps.mean(q, layer.phi))
        return layer.scale.sw2 * (float(maps.second_moment(q, layer.phi)) - mean**2)
    return float(maps.length(q, layer.phi, sw2=layer.scale.sw2, sb2=layer.scale.sb2))


def _refuse(layers: Sequence[Layer]) -> None:
    """Raises UsageError for layers that do not make a network."""
    if not layers:
        raise UsageError("a forecast needs at least one layer; none was given")
    for index, layer in enumerate(layers):
        if not (layer.fan_in >= 1.0 and layer.fan_out > 0.0):
            raise UsageError(
                f"layer {index} has fan_in {layer.fan_in:g} and fan_out {layer.fan_out:g}; a layer needs weights on both sides"
            )
