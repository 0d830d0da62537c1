"""The scale of random weights: fan-in and fan-out of a layer, and gain of an activation. Pure functions."""

from __future__ import annotations

import math

from torch import nn

from unvanish.network.module_kinds import WeightedLayer
from unvanish.remedies.init.orthogonal import TRANSPOSED_CONVOLUTIONS

RECTIFIER_GAIN = math.sqrt(2.0)
"""A rectifier halves the mean square of its input (He 2015, arXiv 1502.01852, eq. 10)."""

LINEAR_GAIN = 1.0
"""For linear units, and for units that are linear around zero with slope one (Glorot 2010, sec. 4.2.1)."""

DEFAULT_SLOPE = 0.01
"""Torch's default slope of a leaky rectifier below zero, used for functional calls, whose arguments are unknown."""

# Smooth relatives of the rectifier also pass about half of the variance at unit scale.
_RECTIFIERS = frozenset({"relu", "relu6", "elu", "celu", "gelu", "silu", "mish", "hardswish", "softplus", "threshold"})
_LEAKY = frozenset({"leakyrelu", "prelu", "rrelu"})


def fans(layer: WeightedLayer) -> tuple[float, float]:
    """(fan_in, fan_out): how many inputs reach an output of the layer, and how many outputs an input reaches.

    Grouped layers mix only within a group. A stride reduces the number of outputs that an input reaches, or, in a transposed
    convolution, of inputs that reach an output; the average over positions is returned, ignoring borders.

    Example:
        >>> from torch import nn
        >>> fans(nn.Conv2d(3, 8, kernel_size=3, stride=2))
        (27.0, 18.0)
    """
    if isinstance(layer, nn.Linear):
        return float(layer.in_features), float(layer.out_features)
    taps, stride = math.prod(layer.kernel_size), math.prod(layer.stride)
    into, out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    if isinstance(layer, TRANSPOSED_CONVOLUTIONS):
        return into * taps / stride, float(out * taps)
    return float(into * taps), out * taps / stride


def activation_gain(op: str, module: nn.Module | None = None) -> float:
    """The factor on the standard deviation of weights that compensates for the activation after them.

    Rectifiers have sqrt(2), leaky ones sqrt(2 / (1 + slope^2)) (He 2015, eq. 15); SELU has 1, since its fixed point needs variance
    1 / fan_in (Klambauer 2017, arXiv 1706.02515), and so has every other activation.

    Arguments:
        op: the activation's `op_name`, such as "leakyrelu".
        module: the activation's module, for its slope; for None, DEFAULT_SLOPE is used.

    Example:
        >>> round(activation_gain("relu"), 4), activation_gain("tanh")
        (1.4142, 1.0)
    """
    if op in _LEAKY:
        return math.sqrt(2.0 / (1.0 + _slope(module) ** 2))
    return RECTIFIER_GAIN if op in _RECTIFIERS else LINEAR_GAIN


def _slope(module: nn.Module | None) -> float:
    if isinstance(module, nn.LeakyReLU):
        return module.negative_slope
    if isinstance(module, nn.RReLU):
        return (module.lower + module.upper) / 2
    if isinstance(module, nn.PReLU):
        return float(module.weight.detach().mean())
    return DEFAULT_SLOPE
