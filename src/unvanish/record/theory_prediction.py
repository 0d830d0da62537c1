"""What mean-field theory predicts of a network before its first step, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PredictedLayer:
    """One layer, an activation and the weights after it, in the order of the forward pass.

    `label` is the label of its weight operation in the flow, `activation` the name of what comes before those weights ("linear" for
    none). `q` is the mean square of what enters the activation, `chi` the squared gain of the gradient at infinite width. Gains are
    log10 of RMS: `log10_gain` of this layer alone, `log10_accumulated` from the network's output down to this layer's input.
    `sw` is the weight scale as it is, sqrt(fan_in) times the standard deviation of a weight.
    """

    label: str
    activation: str
    q: float
    chi: float
    sw: float
    log10_gain: float
    log10_accumulated: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The forecast for a whole network, from the output down to the input of its first layer.

    `decades` is None where theory gives no number; `reason` then says why. `scatter` is the standard deviation of one network
    about it. `trainable_depth` is the number of layers up to which such a network trains (inf: any), `critical_sw` the weight
    scale that would neither shrink nor blow up the gradient, `sw` the network's own (the geometric mean over its hidden layers);
    None where theory has no such number. `phase` is "ordered", "critical", "chaotic" or "".
    """

    decades: float | None
    layers: tuple[PredictedLayer, ...] = ()
    phase: str = ""
    sw: float | None = None
    critical_sw: float | None = None
    trainable_depth: float | None = None
    scatter: float | None = None
    reason: str = ""
