"""What theory says of a traced network: the forecast for its own depth, widths, activations and weights. It sees only the record.

Mean-field theory speaks of plain chains: weights, perhaps a normalisation, an activation, and again. Of anything else it gives no
number, and this says why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from unvanish.diagnose import wording
from unvanish.errors import UsageError
from unvanish.record.flow import FlowOp, GradientFlow
from unvanish.record.prediction import PredictedLayer, Prediction
from unvanish.theory.criticality import Scale, criticality
from unvanish.theory.decades import Forecast, forecast
from unvanish.theory.initialisation import critical_start
from unvanish.theory.layers import Layer, Normalisation, Weights
from unvanish.theory.nonlinearity import Nonlinearity, find, nonlinearity

FEWEST_LAYERS = 2
LARGEST_LENGTH = 1e4  # of an input; with one of 1e10 a forecast says hundreds of decades, and helps nobody
NOTHING = 1e-9  # decades: what a view or a flattening does to a gradient
NORMALISATIONS = {"batch_norm": Normalisation.BATCH, "layer_norm": Normalisation.LAYER, "rms_norm": Normalisation.LAYER}


@dataclass(frozen=True, slots=True)
class Link:
    """A weight operation of the chain with the activation before it and the normalisation after it."""

    op: FlowOp
    phi: Nonlinearity
    normalisation: Normalisation


class _OffTheMap(Exception):
    """Theory does not speak of this network; the message says why."""


def predict(flow: GradientFlow) -> Prediction:
    """The decades that theory expects this network to lose, layer by layer, from its own initial weights; no data but the input's
    size.

    Cost: some milliseconds a layer until the length settles.
    """
    try:
        links = _links(flow)
        layers = [_layer(flow, link) for link in links]
        length = _input_length(links[0], layers[0])
        if length > LARGEST_LENGTH:
            raise _OffTheMap(f"the input has a mean square of {length:.2g}, and theory speaks of inputs of about 1")
    except _OffTheMap as reason:
        return Prediction(None, reason=str(reason))
    told = forecast(layers, q=length)
    return _prediction(links, layers, told)


def _prediction(links: Sequence[Link], layers: Sequence[Layer], told: Forecast) -> Prediction:
    hidden = [(link, layer) for link, layer in zip(links, layers, strict=True) if link.phi.name != "linear"]
    phi = Counter(link.phi for link, _ in hidden).most_common(1)[0][0] if hidden else nonlinearity("linear")
    own = [layer for link, layer in hidden if link.phi == phi] or list(layers)
    sw = math.exp(sum(0.5 * math.log(max(layer.scale.sw2, 1e-300)) for layer in own) / len(own))
    phase, depth = "", None
    if all(layer.normalisation is Normalisation.NONE for layer in layers):
        settled = criticality(phi, Scale(sw**2, sum(layer.scale.sb2 for layer in own) / len(own))).fixed_point
        if settled is not None:
            phase, depth = settled.phase.value, settled.trainable_depth
    try:
        critical_sw, reason = math.sqrt(critical_start(phi, depth=len(links)).scale.sw2), ""
    except UsageError as why:
        critical_sw, reason = None, str(why)
    if told.decades is None:
        reason = (
            f"a deviation of the signal's size grows {told.growth:.0f}-fold on its way through these layers of {phi.name}, so that "
            "no number can be foretold"
        )
    return Prediction(
        decades=told.decades,
        layers=tuple(
            PredictedLayer(link.op.label, link.phi.name, said.q, said.chi, math.sqrt(layer.scale.sw2), said.gain, said.accumulated)
            for link, layer, said in zip(links, layers, told.layers, strict=False)
        ),
        phase=phase,
        sw=sw,
        critical_sw=critical_sw,
        trainable_depth=depth,
        scatter=told.scatter,
        reason=reason,
    )


def _links(flow: GradientFlow) -> list[Link]:
    """The chain, from the input to the output. Raises _OffTheMap where the network is none."""
    if flow.target != "input":
        raise _OffTheMap("the flow ends at an embedding, since the inputs are integers, and theory speaks of the whole way")
    if not math.isfinite(flow.total):
        raise _OffTheMap("no gradient arrives at all, which random weights do not do")
    on_the_way = [op for op in flow.ops if op.visits]
    if flow.junctions:
        raise _OffTheMap(f"theory speaks of plain chains, and here the paths part behind {wording.named(flow.junctions[0].origin)}")
    links: list[Link] = []
    phi = nonlinearity("linear")
    for op in on_the_way:
        if op.kind == "activation":
            phi = _activation(op)
        elif op.kind == "normalisation":
            if not links or _plain_name(op) not in NORMALISATIONS or phi.name != "linear":
                raise _OffTheMap(f"theory has no number for {op.label} ({op.op}) at its place")
            links[-1] = Link(links[-1].op, links[-1].phi, NORMALISATIONS[_plain_name(op)])
        elif op.kind == "weight":
            links.append(Link(op, phi, Normalisation.NONE))
            phi = nonlinearity("linear")
        elif max(abs(op.decades), abs(op.size)) > NOTHING:
            raise _OffTheMap(f"theory speaks of weights and activations in a row, and has no number for {op.label} ({op.op})")
    if len(links) < FEWEST_LAYERS:
        raise _OffTheMap("the network has too few layers for a theory of deep ones")
    return links


def _activation(op: FlowOp) -> Nonlinearity:
    phi = find(op.op, **dict(op.settings))
    if phi is None:
        raise _OffTheMap(f"theory has no formula for {op.op} ({op.label})")
    return phi


def _plain_name(op: FlowOp) -> str:
    for name in NORMALISATIONS:
        if op.op.replace("_", "").startswith(name.replace("_", "")):
            return name
    return op.op


def _layer(flow: GradientFlow, link: Link) -> Layer:
    """A weight operation as theory wants it: how many weights enter and leave a unit, and how large they are."""
    own = [parameter for parameter in flow.parameters if parameter.name in link.op.parameters]
    weights = [parameter for parameter in own if len(parameter.shape) > 1]
    biases = [parameter for parameter in own if len(parameter.shape) <= 1]
    if len(weights) != 1 or len(biases) > 1:
        raise _OffTheMap(f"the weights of {link.op.label} are put together from several parameters")
    weight = weights[0]
    fan_in = float(math.prod(weight.shape[1:]))
    if "transpose" in link.op.op:
        raise _OffTheMap(f"theory has no number for {link.op.label} ({link.op.op})")
    fan_out = fan_in * 10.0 ** (2.0 * link.op.size)  # as many connections leave the inputs as enter the outputs
    scale = Scale(fan_in * 10.0 ** (2.0 * weight.log10_rms), 10.0 ** (2.0 * biases[0].log10_rms) if biases else 0.0)
    kind = Weights.ORTHOGONAL if weight.orthogonal else Weights.GAUSSIAN
    return Layer(link.phi, fan_in, fan_out, scale, kind, link.normalisation)


def _input_length(first: Link, layer: Layer) -> float:
    """The mean square of the input, as the first layer's measured output implies it."""
    behind = first.op.output_mean**2 + first.op.output_std**2 - layer.scale.sb2
    return max(behind / layer.scale.sw2, 1e-12) if layer.scale.sw2 > 0.0 else 1.0
