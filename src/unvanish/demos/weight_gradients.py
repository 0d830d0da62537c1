"""The gradient of a network before its training, at any size: how much of it is lost, and where. One exact look, no step."""

from __future__ import annotations

import math

from torch import Tensor, nn

from unvanish.record.demo_result import Profile
from unvanish.record.flow import FlowParameter, GradientFlow
from unvanish.tracing import trace

POINTS = 400  # about as many as a picture can show across
TRACED = 128  # examples that are looked at; the figures hardly change beyond
FIRST_OVER_LAST = "log10 of first over last weight gradient"


def weight_gradients(network: nn.Module, inputs: Tensor, labels: Tensor) -> list[float]:
    """log10 of the length of every weight matrix's gradient, from the first layer to the last; -inf for an exact zero.

    Taken with rescaling, so that a gradient far below what float32 can hold is measured too. Normalisation and biases are left out.
    """
    return [_log10_length(parameter) for parameter in _matrices(trace(network, inputs[:TRACED], labels[:TRACED]))]


def first_over_last(lengths: list[float]) -> tuple[tuple[str, float], ...]:
    """The measure that says how much of the gradient is lost between the last layer and the first."""
    return ((FIRST_OVER_LAST, _over(lengths[0], lengths[-1])),)


def profile(name: str, lengths: list[float]) -> Profile:
    """The lengths by layer, relative to the last one, thinned to what can be drawn."""
    kept = sorted({round(i * (len(lengths) - 1) / (POINTS - 1)) for i in range(POINTS)})
    return Profile(name, tuple(float(i + 1) for i in kept), tuple(_over(lengths[i], lengths[-1]) for i in kept))


def _over(length: float, last: float) -> float:
    """The ratio as log10; NaN where there is no gradient to compare with."""
    return math.nan if last == -math.inf else length - last


def _matrices(flow: GradientFlow) -> list[FlowParameter]:
    return [parameter for parameter in flow.parameters if len(parameter.shape) > 1]


def _log10_length(parameter: FlowParameter) -> float:
    return parameter.log10_gradient_rms + 0.5 * math.log10(math.prod(parameter.shape))
