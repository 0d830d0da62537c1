"""Measures the gradient of every weight matrix before training: how many decades are lost, and at which layer."""

from __future__ import annotations

import math

from torch import Tensor, nn

from unvanish.record.demo_result import GradientProfile
from unvanish.record.gradient_flow import FlowParameter, GradientFlow
from unvanish.tracing import trace

MAX_PROFILE_POINTS = 400  # about as many as a chart can show side by side
TRACED_EXAMPLES = 128  # more examples hardly change the numbers
FIRST_OVER_LAST = "log10 of first over last weight gradient"


def measure_weight_gradients(network: nn.Module, inputs: Tensor, labels: Tensor) -> list[float]:
    """log10 of the L2 norm of every weight matrix's gradient, from the first layer to the last; -inf for an exact zero.

    The trace rescales gradients, so that one far below what float32 can hold is measured too. Normalisation layers and biases are
    left out.
    """
    flow = trace(network, inputs[:TRACED_EXAMPLES], labels[:TRACED_EXAMPLES])
    return [_log10_norm(parameter) for parameter in _weight_matrices(flow)]


def gradient_loss_measure(log10_norms: list[float]) -> tuple[tuple[str, float], ...]:
    """The measure of how much gradient is lost between the last layer and the first, as (name, decades)."""
    return ((FIRST_OVER_LAST, _log10_ratio(log10_norms[0], log10_norms[-1])),)


def build_gradient_profile(name: str, log10_norms: list[float]) -> GradientProfile:
    """The norms by layer, relative to the last one, at no more than 400 evenly spaced layers."""
    last = len(log10_norms) - 1
    layers = sorted({round(i * last / (MAX_PROFILE_POINTS - 1)) for i in range(MAX_PROFILE_POINTS)})
    ratios = tuple(_log10_ratio(log10_norms[layer], log10_norms[-1]) for layer in layers)
    return GradientProfile(name, tuple(float(layer + 1) for layer in layers), ratios)


def _log10_ratio(log10_norm: float, log10_last: float) -> float:
    """The ratio as log10; NaN where the last layer has no gradient."""
    return math.nan if log10_last == -math.inf else log10_norm - log10_last


def _weight_matrices(flow: GradientFlow) -> list[FlowParameter]:
    return [parameter for parameter in flow.parameters if len(parameter.shape) > 1]


def _log10_norm(parameter: FlowParameter) -> float:
    return parameter.log10_gradient_rms + 0.5 * math.log10(math.prod(parameter.shape))
