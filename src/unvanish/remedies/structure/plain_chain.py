"""Reads a network as the chain of layers h' = W phi(h) + b of mean-field theory: each weight with the activation before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from torch import nn

from unvanish.network.module_kinds import EMBEDDINGS, WEIGHTED
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.nonlinearities import nonlinearity_of
from unvanish.remedies.graph.signal_kinds import ARITHMETIC, Kind
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity

# They return their inputs, or an average of them.
_TRANSPARENT_CALLS = frozenset(
    {"getitem", "cat", "concat", "concatenate", "stack", "chunk", "split", "unbind", "to", "float", "double", "half", "mean"}
)
_SIZE_CALLS = frozenset({"size", "getattr", "dim", "len"})  # they return a size of a signal


class _SignalKind(IntEnum):
    """What the result of a step depends on; of several, the greatest counts."""

    NONE = 0
    INPUT = 1
    """The network's inputs, embedded or scaled at most."""
    HIDDEN = 2
    """Results of weights or activations."""


class NotAPlainChain(Exception):
    """Mean-field theory does not cover this network; the message says why, and what to use instead."""


@dataclass(frozen=True, slots=True)
class PlainChain:
    """A network as a chain of weights and activations.

    Arguments:
        previous_activation: for each weight, the activation before it, the most frequent where there are several; None for
            layers that read only the network's inputs.
        output_weights: the weights after which no other comes.
        depth: the largest number of weighted layers in a row.
    """

    previous_activation: Mapping[nn.Parameter, Nonlinearity | None]
    output_weights: frozenset[nn.Parameter]
    depth: int


def plain_chain(graph: ForwardGraph) -> PlainChain:
    """The chain of a forward graph. Weights that follow each other directly have a linear activation between them.

    Paths may part and be concatenated again. Raises NotAPlainChain where the order of operations is unknown, where signals are
    added or multiplied, and for normalisations, recurrent and attention layers, and activations without a formula. Cost: linear in
    the number of operations.

    Example:
        >>> from torch import nn
        >>> from unvanish.remedies.graph.trace_graph import trace_graph
        >>> chain = plain_chain(trace_graph(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))))
        >>> [phi.name if phi else None for phi in chain.previous_activation.values()], chain.depth
        ([None, 'tanh'], 2)
    """
    if not graph.is_traced:
        raise NotAPlainChain("its forward could not be traced, so that the order of its layers is unknown; pass inputs=")
    for step in graph.steps:
        if step.kind is Kind.WEIGHT and step.module is not None and not isinstance(step.module, (*WEIGHTED, *EMBEDDINGS)):
            raise NotAPlainChain(f"{step.path!r} ({type(step.module).__name__}) is no plain layer; use orthogonal-init")
    signals = _signal_kinds(graph)
    positions_by_weight: dict[nn.Parameter, list[int]] = {}
    for module, positions in graph.module_positions.items():
        weight = dict(module.named_parameters(recurse=False)).get("weight")
        if isinstance(module, WEIGHTED) and weight is not None:
            positions_by_weight.setdefault(weight, []).extend(positions)
    return PlainChain(
        {
            weight: _most_common([_previous_activation(position, graph, signals) for position in positions])
            for weight, positions in positions_by_weight.items()
        },
        frozenset(
            weight for weight, positions in positions_by_weight.items() if not any(graph.hidden[position] for position in positions)
        ),
        _weighted_depth(graph),
    )


def _weighted_depth(graph: ForwardGraph) -> int:
    depths: list[int] = []
    for step in graph.steps:
        depths.append(max((depths[source] for source in step.sources), default=0) + isinstance(step.module, WEIGHTED))
    return max(depths, default=0)


def _signal_kinds(graph: ForwardGraph) -> list[_SignalKind]:
    kinds: list[_SignalKind] = []
    for step in graph.steps:
        if _is_layer_or_activation(step):
            kinds.append(_SignalKind.HIDDEN)
        elif step.op in _SIZE_CALLS or step.op == PARAMETER:
            kinds.append(_SignalKind.NONE)
        elif step.op == "placeholder":
            kinds.append(_SignalKind.INPUT)
        else:
            kinds.append(max((kinds[source] for source in step.sources), default=_SignalKind.NONE))
    return kinds


def _is_layer_or_activation(step: GraphStep) -> bool:
    """Whether a step is an element of a chain: a weighted layer other than an embedding, or an activation."""
    return step.kind in (Kind.ACTIVATION, Kind.WEIGHT) and not isinstance(step.module, EMBEDDINGS)


def _most_common(activations: list[Nonlinearity | None]) -> Nonlinearity | None:
    """The most frequent activation; None, for the network's inputs, only where there is no other."""
    known = [phi for phi in activations if phi is not None]
    return Counter(known).most_common(1)[0][0] if known else None


def _previous_activation(position: int, graph: ForwardGraph, signals: list[_SignalKind]) -> Nonlinearity | None:
    """The one activation whose result a step takes, linear for weights; None where it takes only the network's inputs."""
    activations: set[Nonlinearity | None] = set()
    queue, visited = list(graph.steps[position].sources), {position}
    while queue:
        current = queue.pop()
        step = graph.steps[current]
        if current in visited or signals[current] is _SignalKind.NONE:
            continue
        visited.add(current)
        if signals[current] is _SignalKind.INPUT:
            activations.add(None)
        elif _is_layer_or_activation(step):
            activations.add(_activation_of(current, graph, signals))
        else:
            _require_passing(step)
            queue.extend(step.sources)
    if len(activations) > 1:
        names = ", ".join(sorted("the inputs" if phi is None else phi.name for phi in activations))
        raise NotAPlainChain(f"{graph.steps[position].path!r} takes signals of several kinds ({names}); use orthogonal-init")
    return activations.pop() if activations else None


def _activation_of(position: int, graph: ForwardGraph, signals: list[_SignalKind]) -> Nonlinearity:
    step = graph.steps[position]
    description = f"{step.op} in {step.path or 'the network itself'}"
    if step.kind is Kind.WEIGHT:
        if sum(signals[source] is not _SignalKind.NONE for source in step.sources) > 1:
            raise NotAPlainChain(f"two signals are multiplied ({description}), of which there is no theory; use lsuv-init")
        return nonlinearity("linear")
    phi = nonlinearity_of(step)
    if phi is None:
        raise NotAPlainChain(f"there is no formula for {description}; use he-init or lsuv-init")
    if _previous_activation(position, graph, signals) not in (None, nonlinearity("linear")):
        raise NotAPlainChain(f"{description} follows another activation; use lsuv-init")
    return phi


def _require_passing(step: GraphStep) -> None:
    if step.kind in (Kind.NEUTRAL, Kind.RESHAPE) or step.op in _TRANSPARENT_CALLS:
        return
    description = f"{step.op} in {step.path or 'the network itself'}"
    if step.kind is Kind.NORMALISATION:
        raise NotAPlainChain(
            f"a normalisation ({description}) sets the size of the signal whatever the weights are; use orthogonal-init"
        )
    if step.kind is Kind.PRODUCT:
        raise NotAPlainChain(f"two signals are multiplied ({description}), of which there is no theory; use lsuv-init")
    if step.op in ARITHMETIC:
        raise NotAPlainChain(
            f"two signals are summed ({description}): weights critical for a chain would double the signal at each sum; "
            "use zero-init-residual or orthogonal-init"
        )
    raise NotAPlainChain(f"there is no theory of what {description} does to a signal; use orthogonal-init or lsuv-init")
