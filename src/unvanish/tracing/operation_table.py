"""Groups the nodes of a measured pass into operations, and gives each a label, a kind and the parameters that it uses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unvanish.tracing.forward_recorder import operation_labeller
from unvanish.tracing.measured_pass import MeasuredPass
from unvanish.tracing.operation_kinds import RECURRENCES, node_operation, operation_kind

# Index of the call, which of its operations, and of which layer of a recurrence ("_l0_reverse", or "").
OperationKey = tuple[int, str, str]

LAYER_SUFFIX = re.compile(r"_l\d+(_reverse)?$")


@dataclass(slots=True)
class OperationTable:
    """The operations of a flow before they have a block. `nodes` are in the order of the graph."""

    key_of_node: dict[int, OperationKey] = field(default_factory=dict[int, OperationKey])
    nodes: dict[OperationKey, list[int]] = field(default_factory=dict[OperationKey, list[int]])
    labels: dict[OperationKey, str] = field(default_factory=dict[OperationKey, str])
    kinds: dict[OperationKey, str] = field(default_factory=dict[OperationKey, str])
    parameters: dict[OperationKey, tuple[str, ...]] = field(default_factory=dict[OperationKey, tuple[str, ...]])


def collect_operations(measured: MeasuredPass) -> OperationTable:
    """The operations of the pass, with the nodes, label, kind and parameters of each."""
    ops = OperationTable()
    recorder, graph = measured.recorder, measured.graph
    call_index = {id(call): i for i, call in enumerate(recorder.calls)}
    from_parameters = _nodes_from_parameters(measured)
    names = {measured.leaves[id(p)]: n for n, p in measured.network.named_parameters() if id(p) in measured.leaves}
    layers = _recurrent_layers(measured, from_parameters, names)
    for i, node in enumerate(graph.nodes):
        call = recorder.call_of_node.get(node)
        if call is None or id(call) not in call_index or graph.is_leaf[i]:
            continue
        key = (call_index[id(call)], node_operation(node.name()) if call.is_composite else call.operation, layers.get(i, ""))
        ops.key_of_node[i] = key
        ops.nodes.setdefault(key, []).append(i)
    label = operation_labeller(recorder.module_calls, type(measured.network).__name__)
    for key in sorted(ops.nodes, key=lambda k: (k[0], -ops.nodes[k][-1])):
        ops.labels[key] = label(recorder.calls[key[0]], key[1] + key[2])
        inputs = {
            port
            for node in ops.nodes[key]
            for port in graph.inputs[node]
            if port is not None and ops.key_of_node.get(port[0]) != key
        }
        weights = [port[0] for port in inputs if from_parameters[port[0]]]
        ops.kinds[key] = operation_kind(key[1], signals=len(inputs) - len(weights), weighted=bool(weights))
        ops.parameters[key] = tuple(sorted(_parameters_behind(measured, weights, names)))
    return ops


def _nodes_from_parameters(measured: MeasuredPass) -> list[bool]:
    """Whether a node depends on parameters alone, such as a transposed weight. What is looked up in an embedding is a signal."""
    parameters = {measured.leaves[id(p)] for p in measured.network.parameters() if id(p) in measured.leaves}
    ports = [measured.graph.port(*output) for output, _ in measured.recorder.embedding_outputs]
    embedded = {port[0] for port in ports if port is not None}
    derived = [False] * len(measured.graph.nodes)
    for node in range(len(derived) - 1, -1, -1):
        inputs = [port for port in measured.graph.inputs[node] if port is not None]
        derived[node] = node in parameters or (node not in embedded and bool(inputs) and all(derived[port[0]] for port in inputs))
    return derived


def _recurrent_layers(measured: MeasuredPass, from_parameters: Sequence[bool], names: Mapping[int, str]) -> dict[int, str]:
    """Of every node within a stacked recurrence, its layer and direction as torch ends the names of the weights: "_l1_reverse".

    An operation with weights belongs to theirs, any other to that of its inputs; what joins several belongs to none.
    """
    if not any(name.endswith(("_l1", "_l0_reverse")) for name in names.values()):
        return {}  # one layer and one direction need no suffix
    layers: dict[int, str] = {}
    for node in range(len(measured.graph.nodes) - 1, -1, -1):
        call = measured.recorder.call_of_node.get(measured.graph.nodes[node])
        if node in names and (suffix := LAYER_SUFFIX.search(names[node])):
            layers[node] = suffix[0]
        if not from_parameters[node] and (call is None or call.operation not in RECURRENCES):
            continue
        inputs = {port[0] for port in measured.graph.inputs[node] if port is not None}
        of_weights = {layers[i] for i in inputs if from_parameters[i] and i in layers}
        signals = (i for i in inputs if not from_parameters[i])
        of_signals = {layers.get(i, "") for i in signals if measured.recorder.call_of_node.get(measured.graph.nodes[i]) is call}
        if len(candidates := of_weights or of_signals) == 1:
            layers.setdefault(node, candidates.pop())
    return layers


def _parameters_behind(measured: MeasuredPass, nodes: Sequence[int], names: Mapping[int, str]) -> set[str]:
    """The names of the parameters that the nodes depend on."""
    visited: set[int] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in visited:
            visited.add(node)
            stack.extend(port[0] for port in measured.graph.inputs[node] if port is not None)
    return {names[node] for node in visited if node in names}
