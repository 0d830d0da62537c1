"""Which weights an initialisation touches, and which it leaves alone and why. It draws and alters nothing.

Touched: the trainable weights and biases of Linear, Conv and ConvTranspose layers, each parameter once however many layers
share it. Left alone: embeddings (and weights tied to one), normalisation, recurrent and attention layers, frozen parameters,
and weights that torch computes from others (weight_norm, spectral_norm), which cannot be set in place.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies.contract import Operation
from unvanish.remedies.kinds import FUSED, WEIGHTED, Kind, WeightedLayer
from unvanish.remedies.layout import Layout
from unvanish.remedies.scale import LINEAR_GAIN, RECTIFIER_GAIN, gain_of
from unvanish.remedies.surgery import Fill, Initialise


@dataclass(frozen=True, slots=True)
class Target:
    """One weight to be filled: the first layer that owns it, and the bias that goes with it."""

    path: str
    layer: WeightedLayer
    weight: nn.Parameter
    bias: nn.Parameter | None

    def filled(self, fill: Fill, *, after: str) -> Operation:
        """The operation that fills the weight and clears the bias."""
        fills = [(self.weight, fill), *([(self.bias, Tensor.zero_)] if self.bias is not None else [])]
        return Initialise(self.path, repr(self.layer), after if self.bias is None else f"{after}; bias 0", tuple(fills))


def targets(network: nn.Module, *, remedy: str) -> tuple[Target, ...]:
    """The weights to fill, in order of registration. Raises NotApplicable, in the name of `remedy`, where there are none."""
    foreign = {id(p) for module in network.modules() if not isinstance(module, WEIGHTED) for p in module.parameters(recurse=False)}
    fused = {id(inner) for module in network.modules() if isinstance(module, FUSED) for inner in module.modules()}
    found: list[Target] = []
    taken: set[int] = set(foreign)
    layers = [(path, m) for path, m in network.named_modules() if isinstance(m, WEIGHTED) and id(m) not in fused]
    for path, layer in layers:
        own = dict(layer.named_parameters(recurse=False))
        weight, bias = own.get("weight"), own.get("bias")
        if weight is None or not weight.requires_grad or id(weight) in taken:
            continue
        taken.add(id(weight))
        found.append(Target(path, layer, weight, bias if bias is not None and bias.requires_grad else None))
    if not found:
        reason = (
            "its weights are frozen, computed from other parameters (weight_norm, spectral_norm), or tied to an embedding; "
            "unfreeze one, or apply the remedy before such a wrapper"
            if layers
            else "it has no Linear or convolution layer of its own; give the part of the model that has"
        )
        raise NotApplicable(f"{remedy}: no weight of {type(network).__name__} can be initialised: {reason}")
    return tuple(found)


def gain_behind(layer: nn.Module, layout: Layout) -> float:
    """The gain of what follows a layer: its activation, or 1 before another weighted layer and at the network's output.

    Where the layout cannot tell (an activation called in a `forward` that could not be traced), the network's own activation
    if all are of one gain, else a rectifier is assumed.
    """
    positions = layout.positions(layer)
    if positions:
        follower = layout.following(positions[0])
        if follower is not None:
            return gain_of(follower.op, follower.module) if follower.kind is Kind.ACTIVATION else LINEAR_GAIN
        if layout.traced or not layout.hidden[positions[0]]:
            return LINEAR_GAIN
    gains = {gain_of(step.op, step.module) for _, step in layout.activations()}
    return gains.pop() if len(gains) == 1 else RECTIFIER_GAIN
