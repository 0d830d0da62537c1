"""Describes a network of finite depth and width: for each layer its activation, widths, variances and normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from unvanish.theory.criticality import Scale
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity


class Weights(StrEnum):
    """How weights are drawn. Uniform weights of the same variance count as Gaussian."""

    GAUSSIAN = "gaussian"
    ORTHOGONAL = "orthogonal"


class Normalisation(StrEnum):
    """The normalisation between weights and the next activation: none, a BatchNorm, or a LayerNorm or RMSNorm, as initialised."""

    NONE = "none"
    BATCH = "batch"
    LAYER = "layer"


class Scheme(StrEnum):
    """An initialisation that needs no data."""

    PYTORCH = "pytorch"
    GLOROT = "glorot"
    HE = "he"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer h' = N(W phi(h) + b): the activation before the weights, the normalisation N after. A first layer has `linear`.

    `fan_in` is how many weights enter a unit of h', `fan_out` how many leave a unit of h, on average. For a convolution these
    are in_channels x kernel size and out_channels x kernel size, the latter over stride^2. For weights that were measured,
    `scale` is fan_in times the mean square of W, and the mean square of b.
    """

    phi: Nonlinearity
    fan_in: float
    fan_out: float
    scale: Scale
    weights: Weights = Weights.GAUSSIAN
    normalisation: Normalisation = Normalisation.NONE


def scheme_scale(scheme: Scheme, *, fan_in: float, fan_out: float) -> Scale:
    """The variances that an initialisation gives one layer.

    PyTorch's default draws weights and biases from U(-1/sqrt(fan_in), 1/sqrt(fan_in)): sw2 = 1/3, sb2 = 1/(3 fan_in). Glorot 2010:
    2 fan_in / (fan_in + fan_out); He 2015, arXiv 1502.01852: 2; both without bias.
    """
    match scheme:
        case Scheme.PYTORCH:
            return Scale(1.0 / 3.0, 1.0 / (3.0 * fan_in))
        case Scheme.GLOROT:
            return Scale(2.0 * fan_in / (fan_in + fan_out), 0.0)
        case Scheme.HE:
            return Scale(2.0, 0.0)


def plain_network(
    phi: Nonlinearity, scheme: Scheme, *, widths: Sequence[int], normalisation: Normalisation = Normalisation.NONE
) -> tuple[Layer, ...]:
    """The layers of a plain network: `widths` from the input to the output, normalisation and `phi` between any two layers.

    Example:
        >>> layers = plain_network(nonlinearity("relu"), Scheme.HE, widths=[20, 64, 64, 10])
        >>> [(layer.phi.name, layer.fan_in, layer.fan_out) for layer in layers]
        [('linear', 20, 64), ('relu', 64, 64), ('relu', 64, 10)]
    """
    return tuple(
        Layer(
            phi if index else nonlinearity("linear"),
            fan_in,
            fan_out,
            scheme_scale(scheme, fan_in=fan_in, fan_out=fan_out),
            normalisation=normalisation if index < len(widths) - 2 else Normalisation.NONE,
        )
        for index, (fan_in, fan_out) in enumerate(pairwise(widths))
    )
