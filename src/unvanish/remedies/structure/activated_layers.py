"""Finds weighted layers with the normalisation and activation behind them, as units that a residual branch can be made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from unvanish.network.module_kinds import WEIGHTED, WeightedLayer
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.signal_kinds import ACTIVATIONS, Kind, op_name
from unvanish.remedies.layers.tailored import TailoredActivation

_ACTIVATION_CLASSES = {
    op_name(kind.__name__): kind for kind in ACTIVATIONS if kind not in (nn.ReLU6, nn.Threshold, TailoredActivation)
}


@dataclass(frozen=True, slots=True)
class ActivatedLayer:
    """A weighted layer that runs once, the modules between it and its hidden activation, and that activation (module or call)."""

    layer: GraphStep
    between: tuple[GraphStep, ...]
    activation: GraphStep

    @property
    def weighted_layer(self) -> WeightedLayer:
        """The module of the weighted layer."""
        assert isinstance(self.layer.module, WEIGHTED)
        return self.layer.module

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The layer, the modules between and the activation, in order. An activation that is a call becomes a new module."""
        inner = [step.module for step in self.between if step.module is not None]
        return (self.weighted_layer, *inner, self.activation.module or _build_activation(self.activation.op))

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the shape of the input, whatever the batch."""
        layer = self.weighted_layer
        if isinstance(layer, nn.Linear):
            return layer.in_features == layer.out_features
        if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) or layer.in_channels != layer.out_channels:
            return False
        if layer.padding == "same":
            return True
        extents = zip(layer.padding, layer.dilation, layer.kernel_size, strict=True) if not isinstance(layer.padding, str) else ()
        return set(layer.stride) == {1} and bool(extents) and all(2 * p == d * (k - 1) for p, d, k in extents)


def activated_layers(graph: ForwardGraph) -> tuple[ActivatedLayer, ...]:
    """The activated layers, in order of the forward pass, whose activation no other kind of step shares."""
    parameter_owners = {step.path.rpartition(".")[0] for step in graph.steps if step.op == PARAMETER}
    uses: dict[object, list[ActivatedLayer | None]] = {}
    for position, step in graph.activations():
        key = step.module if step.module is not None else step.site
        uses.setdefault(key, []).append(_find_activated_layer(position, graph, parameter_owners))
    complete_uses = [layers for key, layers in uses.items() if key is not None and None not in layers]
    activated = [layer for layers in complete_uses for layer in layers if layer is not None]
    return tuple(sorted(activated, key=lambda layer: graph.positions(layer.weighted_layer)[0]))


def _build_activation(op: str) -> nn.Module:
    kind: Any = _ACTIVATION_CLASSES[op]
    return kind()


def _find_activated_layer(position: int, graph: ForwardGraph, parameter_owners: set[str]) -> ActivatedLayer | None:
    """The activated layer that ends in the activation at `position`; None where there is none."""
    activation = graph.steps[position]
    if not graph.hidden[position] or graph.is_gate(position):
        return None
    if activation.module is None and not (activation.has_default_arguments and activation.op in _ACTIVATION_CLASSES):
        return None
    between: list[GraphStep] = []
    while len(graph.steps[position].sources) == 1:
        (position,) = graph.steps[position].sources
        step = graph.steps[position]
        if step.module is None or len(graph.positions(step.module)) != 1 or len(graph.consumers[position]) != 1:
            return None
        if step.kind is Kind.WEIGHT:
            is_replaceable = isinstance(step.module, WEIGHTED) and step.path not in parameter_owners
            return ActivatedLayer(step, tuple(reversed(between)), activation) if is_replaceable else None
        if step.kind not in (Kind.NORMALISATION, Kind.NEUTRAL) or not _keeps_shape(step):
            return None
        between.append(step)
    return None


def _keeps_shape(step: GraphStep) -> bool:
    return "pool" not in step.op


def unique_activations(layers: Sequence[ActivatedLayer]) -> tuple[list[GraphStep], list[GraphStep]]:
    """The activation modules of some activated layers, and their activation calls, each once."""
    modules = {layer.activation.module: layer.activation for layer in layers if layer.activation.module is not None}
    calls = {layer.activation.site: layer.activation for layer in layers if layer.activation.module is None}
    return list(modules.values()), list(calls.values())
