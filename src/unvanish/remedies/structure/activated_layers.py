"""The links of a plain chain: a weighted layer, what lies behind it, and its activation. It finds them, and alters nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import ACTIVATIONS, WEIGHTED, Kind, WeightedLayer, op_name
from unvanish.remedies.layers.tailored import TailoredActivation

_CLASSES = {op_name(kind.__name__): kind for kind in ACTIVATIONS if kind not in (nn.Threshold, TailoredActivation)}


@dataclass(frozen=True, slots=True)
class Link:
    """A layer that runs once, the modules between it and its hidden activation, and that activation: a module or a call."""

    layer: GraphStep
    between: tuple[GraphStep, ...]
    activation: GraphStep

    @property
    def weighted(self) -> WeightedLayer:
        """The layer's module."""
        assert isinstance(self.layer.module, WEIGHTED)
        return self.layer.module

    @property
    def branch(self) -> tuple[nn.Module, ...]:
        """The modules of the link in order; a call of an activation stands there as a module of the same kind."""
        inner = [step.module for step in self.between if step.module is not None]
        return (self.weighted, *inner, self.activation.module or _built(self.activation.op))

    @property
    def keeps_shape(self) -> bool:
        """Whether what comes out has the shape of what goes in, whatever the batch."""
        layer = self.weighted
        if isinstance(layer, nn.Linear):
            return layer.in_features == layer.out_features
        if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) or layer.in_channels != layer.out_channels:
            return False
        if layer.padding == "same":
            return True
        pairs = zip(layer.padding, layer.dilation, layer.kernel_size, strict=True) if not isinstance(layer.padding, str) else ()
        return set(layer.stride) == {1} and bool(pairs) and all(2 * p == d * (k - 1) for p, d, k in pairs)


def links(layout: ForwardGraph) -> tuple[Link, ...]:
    """The links whose activation is theirs alone, or shared by links alone: those that can be taken out of the chain whole."""
    read = {step.path.rpartition(".")[0] for step in layout.steps if step.op == PARAMETER}
    uses: dict[object, list[Link | None]] = {}
    for position, step in layout.activations():
        key = step.module if step.module is not None else step.site
        uses.setdefault(key, []).append(_link(position, layout, read))
    whole = [several for key, several in uses.items() if key is not None and None not in several]
    found = [link for several in whole for link in several if link is not None]
    return tuple(sorted(found, key=lambda link: layout.positions(link.weighted)[0]))


def _built(op: str) -> nn.Module:
    kind: Any = _CLASSES[op]
    return kind()


def _link(position: int, layout: ForwardGraph, read: set[str]) -> Link | None:
    """The link that ends with an activation; None where it is none."""
    activation = layout.steps[position]
    if not layout.hidden[position] or layout.is_gate(position):
        return None
    if activation.module is None and not (activation.plain and activation.op in _CLASSES):
        return None
    between: list[GraphStep] = []
    while len(layout.steps[position].sources) == 1:
        (position,) = layout.steps[position].sources
        step = layout.steps[position]
        if step.module is None or len(layout.positions(step.module)) != 1 or len(layout.consumers[position]) != 1:
            return None
        if step.kind is Kind.WEIGHT:
            own = isinstance(step.module, WEIGHTED) and step.path not in read
            return Link(step, tuple(reversed(between)), activation) if own else None
        if step.kind not in (Kind.NORMALISATION, Kind.NEUTRAL) or not _keeps_shape(step):
            return None
        between.append(step)
    return None


def _keeps_shape(step: GraphStep) -> bool:
    return "pool" not in step.op


def activations_of(chosen: Sequence[Link]) -> tuple[list[GraphStep], list[GraphStep]]:
    """The activation modules and the calls that some links end with, each once."""
    modules = {link.activation.module: link.activation for link in chosen if link.activation.module is not None}
    calls = {link.activation.site: link.activation for link in chosen if link.activation.module is None}
    return list(modules.values()), list(calls.values())
