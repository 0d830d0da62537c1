"""Which weights an initialisation touches, and which it leaves alone and why. It draws and alters nothing.

Touched: the trainable weights and biases of Linear, Conv and ConvTranspose layers, each parameter once however many layers
share it; and, for remedies that ask for them, parameters of the user's own modules that their `forward` does nothing with but
multiply a signal. Left alone: embeddings (and weights tied to one), normalisation, recurrent and attention layers, frozen
parameters, and weights that torch computes from others (weight_norm, spectral_norm), which cannot be set in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Operation
from unvanish.remedies.edits.module_edits import Fill, Initialise
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph
from unvanish.remedies.graph.kinds import FUSED, WEIGHTED, Kind, WeightedLayer
from unvanish.remedies.graph.parameter_products import TURNS, Factor
from unvanish.remedies.init.orthogonal import group_count
from unvanish.remedies.init.weight_scale import LINEAR_GAIN, RECTIFIER_GAIN, fans, gain_of


@dataclass(frozen=True, slots=True)
class Target:
    """One weight to be filled: the first layer that owns it, and the bias that goes with it."""

    path: str
    layer: WeightedLayer
    weight: nn.Parameter
    bias: nn.Parameter | None

    @property
    def fans(self) -> tuple[float, float]:
        """How many inputs reach an output, and how many outputs an input reaches."""
        return fans(self.layer)

    @property
    def groups(self) -> int:
        """How many groups of channels are kept apart."""
        return group_count(self.layer)

    def gain(self, layout: ForwardGraph) -> float:
        """The gain of what follows the layer."""
        return gain_behind(self.layer, layout)

    def filled(self, fill: Fill, *, after: str) -> Operation:
        """The operation that fills the weight and clears the bias."""
        return _filling(self.path, repr(self.layer), after, self.weight, fill, self.bias)


@dataclass(frozen=True, slots=True)
class OwnTarget:
    """A parameter of the user's own module that multiplies a signal, at the position of that call in the layout; and the bias that
    is added."""

    path: str
    name: str
    factor: Factor
    position: int
    weight: nn.Parameter
    bias: nn.Parameter | None
    groups: ClassVar[int] = 1

    @property
    def fans(self) -> tuple[float, float]:
        """How many inputs reach an output, and how many outputs an input reaches; a kernel's taps count as inputs of both."""
        into, out = (math.prod(self.weight.shape[axis] for axis in axes) for axes in (self.factor.inputs, self.factor.outputs))
        taps = math.prod(self.weight.shape[axis] for axis in self.factor.inputs[1:])
        return float(into), float(out * taps)

    def gain(self, layout: ForwardGraph) -> float:
        """The gain of what follows the product."""
        return _gain_at(self.position, layout)

    def filled(self, fill: Fill, *, after: str) -> Operation:
        """The operation that fills the weight, with its outputs as rows, and clears the bias."""
        order = (*self.factor.outputs, *self.factor.inputs)
        rows = math.prod(self.weight.shape[axis] for axis in self.factor.outputs)

        def turned(weight: Tensor) -> None:
            straight = weight.permute(order)
            matrix = torch.empty(rows, straight.numel() // rows, dtype=weight.dtype)
            fill(matrix)
            straight.copy_(matrix.view(straight.shape))

        before = f"{self.name}: {' x '.join(map(str, self.weight.shape))} parameter"
        return _filling(self.path, before, after, self.weight, turned, self.bias)


def _filling(path: str, before: str, after: str, weight: nn.Parameter, fill: Fill, bias: nn.Parameter | None) -> Operation:
    fills = [(weight, fill), *([(bias, Tensor.zero_)] if bias is not None else [])]
    return Initialise(path, before, after if bias is None else f"{after}; bias 0", tuple(fills))


def drawable(network: nn.Module, layout: ForwardGraph, *, remedy: str) -> tuple[Target | OwnTarget, ...]:
    """The weights of layers, and those of the user's own modules. Raises NotApplicable, in the name of `remedy`, where there are
    none."""
    own = tuple(_own_targets(network, layout))
    try:
        return (*targets(network, remedy=remedy), *own)
    except NotApplicable:
        if not own:
            raise
        return own


def _own_targets(network: nn.Module, layout: ForwardGraph) -> Iterator[OwnTarget]:
    """Parameters that nothing is done with but to multiply signals; of several products, the first counts."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    taken = {id(p) for module in network.modules() if isinstance(module, WEIGHTED) for p in module.parameters(recurse=False)}
    used_else = {
        step.path
        for position, step in enumerate(layout.steps)
        if step.op == PARAMETER and not _only_multiplies(position, layout, step.path)
    }
    for position, step in enumerate(layout.steps):
        if step.factor is None or step.factor.path in used_else:
            continue
        path, _, name = step.factor.path.rpartition(".")
        weight = parameters[step.factor.path]
        if id(weight) in taken or not weight.requires_grad or not weight.is_floating_point():
            continue
        taken.add(id(weight))
        yield OwnTarget(path, name, step.factor, position, weight, _bias_behind(position, step.factor, parameters, layout))


def _only_multiplies(position: int, layout: ForwardGraph, path: str) -> bool:
    """Whether a parameter goes, as it is or turned, into products alone."""
    readers = [(at, layout.steps[at]) for at in layout.consumers[position]]
    return all(
        (step.factor is not None and step.factor.path == path) or (step.op in TURNS and _only_multiplies(at, layout, path))
        for at, step in readers
    )


def _bias_behind(
    position: int, factor: Factor, parameters: Mapping[str, nn.Parameter], layout: ForwardGraph
) -> nn.Parameter | None:
    """The trainable parameter that the product is given as a bias, or that is added to it next, one number an output."""
    outputs = math.prod(parameters[factor.path].shape[axis] for axis in factor.outputs)
    for at in (position, *_sums_behind(position, layout)):
        given = [layout.steps[source].path for source in layout.steps[at].sources if layout.steps[source].op == PARAMETER]
        for bias in (parameters[path] for path in given if path != factor.path and path in parameters):
            if bias.requires_grad and bias.numel() == outputs:
                return bias
    return None


def _sums_behind(position: int, layout: ForwardGraph) -> Iterator[int]:
    """The sums that take a result as it is or in another shape."""
    for at in layout.consumers[position]:
        step = layout.steps[at]
        if step.op in ("add", "iadd"):
            yield at
        elif step.op in TURNS or step.kind is Kind.RESHAPE:
            yield from _sums_behind(at, layout)


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


def gain_behind(layer: nn.Module, layout: ForwardGraph) -> float:
    """The gain of what follows a layer: its activation, or 1 before another weighted layer and at the network's output.

    Where the layout cannot tell (an activation called in a `forward` that could not be traced), the network's own activation
    if all are of one gain, else a rectifier is assumed.
    """
    positions = layout.positions(layer)
    return _gain_at(positions[0] if positions else None, layout)


def _gain_at(position: int | None, layout: ForwardGraph) -> float:
    if position is not None:
        follower = layout.following(position)
        if follower is not None:
            return gain_of(follower.op, follower.module) if follower.kind is Kind.ACTIVATION else LINEAR_GAIN
        if layout.traced or not layout.hidden[position]:
            return LINEAR_GAIN
    gains = {gain_of(step.op, step.module) for _, step in layout.activations()}
    return gains.pop() if len(gains) == 1 else RECTIFIER_GAIN
