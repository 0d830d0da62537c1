"""Finds the layers at a network's input and output, and the hidden weights between them."""

from __future__ import annotations

from collections import deque

from torch import nn

from unvanish.network.module_kinds import WEIGHTED
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.signal_kinds import Kind
from unvanish.remedies.init.orthogonal import TRANSPOSED_CONVOLUTIONS

_LAYER_KINDS = (Kind.WEIGHT, Kind.NORMALISATION, Kind.ACTIVATION)


def input_positions(graph: ForwardGraph) -> tuple[int, ...]:
    """The positions of the first layers, normalisations or activations that the network's input reaches.

    Where the forward pass could not be traced, the first of them in order of registration.
    """
    if not graph.is_traced:
        return tuple(position for position, step in enumerate(graph.steps) if step.kind in _LAYER_KINDS)[:1]
    queue = deque(position for position, step in enumerate(graph.steps) if step.op == "placeholder")
    visited, reached = set(queue), set[int]()
    while queue:
        for consumer in graph.consumers[queue.popleft()]:
            if consumer in visited:
                continue
            visited.add(consumer)
            if graph.steps[consumer].kind in _LAYER_KINDS:
                reached.add(consumer)
            else:
                queue.append(consumer)
    return tuple(sorted(reached))


def output_positions(graph: ForwardGraph) -> tuple[int, ...]:
    """The positions of the weighted layers after which there is no other weighted layer."""
    return tuple(position for position, step in enumerate(graph.steps) if step.kind is Kind.WEIGHT and not graph.hidden[position])


def hidden_weights(network: nn.Module, graph: ForwardGraph) -> tuple[nn.Parameter, ...]:
    """The trainable weights of Linear and Conv layers that are neither at the input nor at the output, in order of registration.

    Excluded are kernels of grouped and transposed convolutions, which are no matrix from inputs to outputs, and weights that
    modules of another kind share, such as an embedding.
    """
    ends = {*input_positions(graph), *output_positions(graph)}
    paths = dict(network.named_modules(remove_duplicate=False))
    excluded = {id(p) for m in paths.values() if not isinstance(m, WEIGHTED) for p in m.parameters(recurse=False)}
    hidden: dict[int, nn.Parameter] = {}
    for path, layer in paths.items():
        if not isinstance(layer, WEIGHTED):
            continue
        weight = dict(layer.named_parameters(recurse=False)).get("weight")
        is_no_matrix = isinstance(layer, TRANSPOSED_CONVOLUTIONS) or (not isinstance(layer, nn.Linear) and layer.groups > 1)
        if weight is None or not weight.requires_grad or weight.is_complex() or id(weight) in excluded:
            continue
        positions = _positions_of(path, paths, graph)
        if is_no_matrix or not positions or not ends.isdisjoint(positions):
            excluded.add(id(weight))  # also where another layer shares it
            hidden.pop(id(weight), None)
        else:
            hidden[id(weight)] = weight
    return tuple(hidden.values())


def _positions_of(path: str, paths: dict[str, nn.Module], graph: ForwardGraph) -> tuple[int, ...]:
    """The positions of a module, or of the nearest module that contains it and runs as one operation."""
    while path:
        if positions := graph.positions(paths[path]):
            return positions
        path = path.rpartition(".")[0]
    return ()
