"""Predicts how many decades of gradient a traced network loses, from its own depth, widths, activations and initial weights.

Mean-field theory holds for plain chains: weights, perhaps a normalisation, an activation, and again. Any other network gets no
number, and the reason in its place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from unvanish.diagnose import wording
from unvanish.errors import UsageError
from unvanish.record.gradient_flow import FlowOp, GradientFlow
from unvanish.record.theory_prediction import PredictedLayer, Prediction
from unvanish.theory.criticality import Scale, criticality
from unvanish.theory.gradient_forecast import Forecast, forecast
from unvanish.theory.initialisation import critical_initialisation
from unvanish.theory.nonlinearity import Nonlinearity, find_nonlinearity, nonlinearity
from unvanish.theory.plain_network import Layer, Normalisation, Weights

MIN_LAYERS = 2
MAX_INPUT_LENGTH = 1e4  # mean square; inputs of 1e10 would give forecasts of hundreds of decades
NEGLIGIBLE_DECADES = 1e-9  # what a view or a flattening does to a gradient
NORMALISATIONS = {"batch_norm": Normalisation.BATCH, "layer_norm": Normalisation.LAYER, "rms_norm": Normalisation.LAYER}


@dataclass(frozen=True, slots=True)
class ChainLayer:
    """A weight operation of the chain with the activation before it and the normalisation after it."""

    op: FlowOp
    phi: Nonlinearity
    normalisation: Normalisation


class _NotPredictable(Exception):
    """Theory does not hold for this network; the message says why."""


def predict(flow: GradientFlow) -> Prediction:
    """The decades that theory expects this network to lose, layer by layer, from its own initial weights.

    Nothing is read off the data but the size of the input. `decades` is None where theory has no number for the network, and
    `reason` then says why. Cost: some milliseconds a layer until the length settles.

    Arguments:
        flow: The traced gradient of the network at its first step.

    Example:
        >>> from unvanish.record.gradient_flow import GradientFlow
        >>> unknown = predict(GradientFlow("Net", "output", "embedding", "float32", 0.0, -1.0, ()))
        >>> unknown.decades, unknown.reason[:30]
        (None, 'the flow ends at an embedding,')
    """
    try:
        chain = _chain_layers(flow)
        layers = [_layer(flow, link) for link in chain]
        length = _input_length(chain[0], layers[0])
        if length > MAX_INPUT_LENGTH:
            raise _NotPredictable(f"the input has a mean square of {length:.2g}, and theory speaks of inputs of about 1")
    except _NotPredictable as reason:
        return Prediction(None, reason=str(reason))
    return _prediction(chain, layers, forecast(layers, q=length))


def _prediction(chain: Sequence[ChainLayer], layers: Sequence[Layer], outlook: Forecast) -> Prediction:
    hidden = [(link, layer) for link, layer in zip(chain, layers, strict=True) if link.phi.name != "linear"]
    phi = Counter(link.phi for link, _ in hidden).most_common(1)[0][0] if hidden else nonlinearity("linear")
    typical = [layer for link, layer in hidden if link.phi == phi] or list(layers)  # those behind the commonest activation
    sw = math.exp(sum(0.5 * math.log(max(layer.scale.sw2, 1e-300)) for layer in typical) / len(typical))
    phase, depth = "", None
    if all(layer.normalisation is Normalisation.NONE for layer in layers):
        fixed_point = criticality(phi, Scale(sw**2, sum(layer.scale.sb2 for layer in typical) / len(typical))).fixed_point
        if fixed_point is not None:
            phase, depth = fixed_point.phase.value, fixed_point.trainable_depth
    try:
        critical_sw, reason = math.sqrt(critical_initialisation(phi, depth=len(chain)).scale.sw2), ""
    except UsageError as error:
        critical_sw, reason = None, str(error)
    if outlook.decades is None:
        reason = (
            f"a deviation of the signal's size grows {outlook.growth:.0f}-fold on its way through these layers of {phi.name}, so "
            "that no number can be foretold"
        )
    return Prediction(
        decades=outlook.decades,
        layers=tuple(
            PredictedLayer(link.op.label, link.phi.name, at.q, at.chi, math.sqrt(layer.scale.sw2), at.gain, at.accumulated)
            for link, layer, at in zip(chain, layers, outlook.layers, strict=False)
        ),
        phase=phase,
        sw=sw,
        critical_sw=critical_sw,
        trainable_depth=depth,
        scatter=outlook.scatter,
        reason=reason,
    )


def _chain_layers(flow: GradientFlow) -> list[ChainLayer]:
    """The layers of the chain, from the input to the output. Raises _NotPredictable where the network is no plain chain."""
    if flow.target != "input":
        raise _NotPredictable("the flow ends at an embedding, since the inputs are integers, and theory speaks of the whole way")
    if not math.isfinite(flow.total):
        raise _NotPredictable("no gradient arrives at all, which random weights do not do")
    passed = [op for op in flow.ops if op.visits]
    if flow.junctions:
        raise _NotPredictable(
            f"theory speaks of plain chains, and here the paths part behind {wording.format_place(flow.junctions[0].origin)}"
        )
    layers: list[ChainLayer] = []
    phi = nonlinearity("linear")
    for op in passed:
        if op.kind == "activation":
            phi = _activation(op)
        elif op.kind == "normalisation":
            if not layers or _plain_name(op) not in NORMALISATIONS or phi.name != "linear":
                raise _NotPredictable(f"theory has no number for {op.label} ({op.op}) at its place")
            layers[-1] = ChainLayer(layers[-1].op, layers[-1].phi, NORMALISATIONS[_plain_name(op)])
        elif op.kind == "weight":
            layers.append(ChainLayer(op, phi, Normalisation.NONE))
            phi = nonlinearity("linear")
        elif max(abs(op.decades), abs(op.size)) > NEGLIGIBLE_DECADES:
            raise _NotPredictable(f"theory speaks of weights and activations in a row, and has no number for {op.label} ({op.op})")
    if len(layers) < MIN_LAYERS:
        raise _NotPredictable("the network has too few layers for a theory of deep ones")
    return layers


def _activation(op: FlowOp) -> Nonlinearity:
    phi = find_nonlinearity(op.op, **dict(op.settings))
    if phi is None:
        raise _NotPredictable(f"theory has no formula for {op.op} ({op.label})")
    return phi


def _plain_name(op: FlowOp) -> str:
    for name in NORMALISATIONS:
        if op.op.replace("_", "").startswith(name.replace("_", "")):
            return name
    return op.op


def _layer(flow: GradientFlow, link: ChainLayer) -> Layer:
    """A weight operation as the theory takes it: how many weights enter and leave a unit, and their variances."""
    own = [parameter for parameter in flow.parameters if parameter.name in link.op.parameters]
    weights = [parameter for parameter in own if len(parameter.shape) > 1]
    biases = [parameter for parameter in own if len(parameter.shape) <= 1]
    if len(weights) != 1 or len(biases) > 1:
        raise _NotPredictable(f"the weights of {link.op.label} are put together from several parameters")
    weight = weights[0]
    fan_in = float(math.prod(weight.shape[1:]))
    if "transpose" in link.op.op:
        raise _NotPredictable(f"theory has no number for {link.op.label} ({link.op.op})")
    fan_out = fan_in * 10.0 ** (2.0 * link.op.size)  # as many connections leave the inputs as enter the outputs
    scale = Scale(fan_in * 10.0 ** (2.0 * weight.log10_rms), 10.0 ** (2.0 * biases[0].log10_rms) if biases else 0.0)
    kind = Weights.ORTHOGONAL if weight.orthogonal else Weights.GAUSSIAN
    return Layer(link.phi, fan_in, fan_out, scale, kind, link.normalisation)


def _input_length(first: ChainLayer, layer: Layer) -> float:
    """The mean square of the input, as the first layer's measured output implies it."""
    from_weights = first.op.output_mean**2 + first.op.output_std**2 - layer.scale.sb2
    return max(from_weights / layer.scale.sw2, 1e-12) if layer.scale.sw2 > 0.0 else 1.0
