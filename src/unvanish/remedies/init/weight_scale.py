"""How large random weights must be: fans of a layer and gains of an activation. Pure arithmetic; it draws nothing."""

from __future__ import annotations

import math

from torch import nn

from unvanish.remedies.graph.kinds import WeightedLayer

RECTIFIER_GAIN = math.sqrt(2.0)
"""Half of a rectifier's input variance is lost (He 2015, arXiv 1502.01852, eq. 10)."""

LINEAR_GAIN = 1.0
"""Nothing is lost; also the units that are linear around zero with slope one (Glorot 2010, sec. 4.2.1)."""

DEFAULT_SLOPE = 0.01
"""Torch's slope of a leaky rectifier below zero, where a functional call does not tell."""

# Smooth relatives of the rectifier: they too pass about half of the variance at unit scale.
_RECTIFIERS = frozenset({"relu", "relu6", "elu", "celu", "gelu", "silu", "mish", "hardswish", "softplus", "threshold"})
_LEAKY = frozenset({"leakyrelu", "prelu", "rrelu"})


def fans(layer: WeightedLayer) -> tuple[float, float]:
    """(fan_in, fan_out): how many inputs reach an output of the layer, and how many outputs an input reaches.

    Grouped layers mix only within a group. A stride thins out what an input reaches, or, in a transposed convolution, what
    reaches an output; the average over positions is returned, borders aside.
    """
    if isinstance(layer, nn.Linear):
        return float(layer.in_features), float(layer.out_features)
    taps, stride = math.prod(layer.kernel_size), math.prod(layer.stride)
    into, out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        return into * taps / stride, float(out * taps)
    return float(into * taps), out * taps / stride


def gain_of(op: str, module: nn.Module | None = None) -> float:
    """The factor on the standard deviation that makes up for the activation `op` (an `op_name`), with the module's own slope.

    Rectifiers sqrt(2), leaky ones sqrt(2 / (1 + slope^2)) (He 2015, eq. 15); SELU 1, whose fixed point needs variance 1 / fan_in
    (Klambauer 2017, arXiv 1706.02515); every other unit 1.
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
