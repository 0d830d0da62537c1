"""From a measured pass to the record of it: operations with their names, terms and blocks. It measures nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from unvanish.record.flow import FlowOp, FlowParameter, GradientFlow, Junction, TimeProfile
from unvanish.tracing.attribution import Attribution, Sizes, attribute, joint
from unvanish.tracing.autograd_graph import Graph, Port
from unvanish.tracing.backward_pass import Backward, Edge
from unvanish.tracing.blocks import Member, block_names, common_path, cuts
from unvanish.tracing.forward_recorder import Call, Recorder, labels
from unvanish.tracing.log_magnitude import log10_rms
from unvanish.tracing.operation_kinds import RECURRENCES, graph_operation, kind_of
from unvanish.tracing.recurrence import Recurrence, horizon, rate

OpKey = tuple[int, str, str]  # place of the call, which of its operations, and of which layer of a recurrence ("_l0_reverse")


LAYER = re.compile(r"_l\d+(_reverse)?$")


@dataclass(frozen=True, slots=True)
class Passed:
    """A forward pass as it was recorded and a backward pass as it was measured. `carried` belongs to `times`, one each."""

    network: nn.Module
    recorder: Recorder
    graph: Graph
    consumers: Mapping[Port, Sequence[Edge]]
    producers: Mapping[Edge, Port]
    backward: Backward
    targets: Sequence[Port]
    in_loss: Sequence[bool]
    loss_edges: frozenset[Edge]
    leaves: Mapping[int, int]
    times: Sequence[Recurrence]
    carried: Sequence[Backward]


@dataclass(slots=True)
class Ops:
    """The operations of a flow before they have a block: by node, and each with its nodes in the order of the graph."""

    of_node: dict[int, OpKey] = field(default_factory=dict[int, OpKey])
    nodes: dict[OpKey, list[int]] = field(default_factory=dict[OpKey, list[int]])
    label: dict[OpKey, str] = field(default_factory=dict[OpKey, str])
    kind: dict[OpKey, str] = field(default_factory=dict[OpKey, str])
    parameters: dict[OpKey, tuple[str, ...]] = field(default_factory=dict[OpKey, tuple[str, ...]])


def flow_of(passed: Passed, *, to: str | None) -> GradientFlow:
    """The record of a pass."""
    ops = _operations(passed)
    sources = _sources(passed)
    body = attribute(_body(passed), passed.targets, sources)
    head = attribute(_head(passed, sources), list(sources), {(0, 0): 0.0}) if passed.loss_edges else Attribution(0.0, 0.0)
    whole = joint([(size, passed.backward.elements[port]) for port, size in sources.items()])
    blocks = _blocks(passed, ops, body)
    return GradientFlow(
        network=type(passed.network).__name__,
        source="output",
        target=to or _target_name(passed, ops),
        dtype=str(next((p.dtype for p in passed.network.parameters()), "")).removeprefix("torch."),
        log10_source_rms=whole,
        log10_target_rms=whole + body.total,
        ops=_flow_ops(passed, ops, body, blocks, in_loss=False),
        junctions=_junctions(passed, ops, body, blocks),
        ends=body.ends,
        loss_ops=_flow_ops(passed, ops, head, {}, in_loss=True),
        loss_junctions=_junctions(passed, ops, head, {}),
        loss_ends=head.ends,
        parameters=tuple(_parameters(passed)),
        times=tuple(_times(passed, ops)),
        notes=tuple(_notes(passed)),
    )


def _sources(passed: Passed) -> dict[Port, float]:
    """log10 RMS of the gradient that the loss hands to each tensor of the network: as a rule, to its output."""
    sums: dict[Port, Any] = {}
    found: dict[Port, float] = {}
    for node, slot in sorted(passed.loss_edges):
        port = passed.graph.inputs[node][slot]
        gradient = passed.backward.kept.get((node, slot))
        if port is not None and gradient is not None:
            value = gradient.tensor.to(torch.complex128 if gradient.tensor.is_complex() else torch.float64) * 2.0**gradient.exponent
            sums[port] = sums[port] + value if port in sums else value
    hooked = {passed.graph.port(*port) for port in passed.recorder.tensor_hooks}
    for port, value in sums.items():
        alone = port not in hooked and passed.loss_edges.issuperset(passed.consumers[port])
        found[port] = passed.backward.totals[port] if alone else log10_rms(value)
    return found or {(0, 0): 0.0}


def _body(passed: Passed) -> Sizes:
    """The sizes within the network, without what the loss contributed."""
    return Sizes(
        {edge: size for edge, size in passed.backward.contributions.items() if not passed.in_loss[edge[0]]},
        passed.backward.totals,
        passed.backward.elements,
        passed.consumers,
        passed.producers,
    )


def _head(passed: Passed, sources: Mapping[Port, float]) -> Sizes:
    """The sizes within the loss, down to the network's output."""
    totals = {port: size for port, size in passed.backward.totals.items() if passed.in_loss[port[0]]}
    return Sizes(
        {edge: size for edge, size in passed.backward.contributions.items() if passed.in_loss[edge[0]]},
        totals | dict(sources),
        passed.backward.elements,
        passed.consumers,
        passed.producers,
    )


def _operations(passed: Passed) -> Ops:
    """Which operation each node belongs to, and what the operations are called."""
    ops = Ops()
    owner = passed.recorder.owner
    place = {id(call): i for i, call in enumerate(passed.recorder.calls)}
    derived = _from_parameters(passed)
    names = {passed.leaves[id(p)]: n for n, p in passed.network.named_parameters() if id(p) in passed.leaves}
    layers = _layers(passed, derived, names)
    for i, node in enumerate(passed.graph.nodes):
        call = owner.get(node)
        if call is None or id(call) not in place or passed.graph.leaves[i]:
            continue
        key = (place[id(call)], graph_operation(node.name()) if call.composite else call.operation, layers.get(i, ""))
        ops.of_node[i] = key
        ops.nodes.setdefault(key, []).append(i)
    name: Callable[[Call, str], str] = labels(passed.recorder.visits, type(passed.network).__name__)
    for key in sorted(ops.nodes, key=lambda k: (k[0], -ops.nodes[k][-1])):
        ops.label[key] = name(passed.recorder.calls[key[0]], key[1] + key[2])
        outside = {
            port
            for node in ops.nodes[key]
            for port in passed.graph.inputs[node]
            if port is not None and ops.of_node.get(port[0]) != key
        }
        weighted = any(derived[port[0]] for port in outside)
        ops.kind[key] = kind_of(key[1], signals=sum(not derived[port[0]] for port in outside), weighted=weighted)
        ops.parameters[key] = tuple(sorted(_behind(passed, [port[0] for port in outside if derived[port[0]]], names)))
    return ops


def _from_parameters(passed: Passed) -> list[bool]:
    """Whether a node depends on parameters alone, such as a transposed weight. What is looked up in an embedding is a signal."""
    own = {passed.leaves[id(p)] for p in passed.network.parameters() if id(p) in passed.leaves}
    found = [passed.graph.port(*port) for port, _ in passed.recorder.embedded]
    signals = {port[0] for port in found if port is not None}
    derived = [False] * len(passed.graph.nodes)
    for node in range(len(derived) - 1, -1, -1):
        ports = [port for port in passed.graph.inputs[node] if port is not None]
        derived[node] = node in own or (node not in signals and bool(ports) and all(derived[port[0]] for port in ports))
    return derived


def _layers(passed: Passed, derived: Sequence[bool], names: Mapping[int, str]) -> dict[int, str]:
    """Of every node within a stacked recurrence, its layer and direction as torch ends the names of the weights: "_l1_reverse".

    An operation with weights belongs to theirs, any other to that of what it is fed; what joins several belongs to none.
    """
    if not any(name.endswith(("_l1", "_l0_reverse")) for name in names.values()):
        return {}  # one layer and one direction need not be told apart
    layers: dict[int, str] = {}
    for node in range(len(passed.graph.nodes) - 1, -1, -1):
        call = passed.recorder.owner.get(passed.graph.nodes[node])
        if node in names and (found := LAYER.search(names[node])):
            layers[node] = found[0]
        if not derived[node] and (call is None or call.operation not in RECURRENCES):
            continue
        fed = {port[0] for port in passed.graph.inputs[node] if port is not None}
        weights = {layers[i] for i in fed if derived[i] and i in layers}
        within = (i for i in fed if not derived[i] and passed.recorder.owner.get(passed.graph.nodes[i]) is call)
        signals = {layers.get(i, "") for i in within}
        if len(own := weights or signals) == 1:
            layers.setdefault(node, own.pop())
    return layers


def _behind(passed: Passed, nodes: Sequence[int], names: Mapping[int, str]) -> set[str]:
    """The parameters from which the nodes are derived."""
    seen: set[int] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(port[0] for port in passed.graph.inputs[node] if port is not None)
    return {names[node] for node in seen if node in names}


def _flow_ops(passed: Passed, ops: Ops, found: Attribution, blocks: Mapping[OpKey, str], *, in_loss: bool) -> tuple[FlowOp, ...]:
    made: list[FlowOp] = []
    recorder = passed.recorder
    inner: dict[OpKey, float] = {}
    for port, (_, split, interference) in found.junctions.items():
        if len(users := _users(passed, ops, found, port)) == 1 < len(passed.consumers[port]):
            inner[users[0]] = inner.get(users[0], 0.0) + split + interference
    for key, label in ops.label.items():
        call = recorder.calls[key[0]]
        if call.in_loss is not in_loss:
            continue
        nodes = ops.nodes[key]
        module = recorder.visits[call.module].module
        plain = module is not None and label.split("#")[0] == call.path
        made.append(
            FlowOp(
                label=label,
                path=call.path,
                op=type(module).__name__.lower() if plain else key[1],
                kind=ops.kind[key],
                block=blocks.get(key, ""),
                order=len(made),
                location=recorder.location(call),
                output_mean=call.mean,
                output_std=call.std,
                log10_gradient_out=_outgoing(passed, ops, key, call),
                log10_gradient_in=_incoming(passed, ops, key),
                visits=min(1.0, max((found.visits.get(node, 0.0) for node in nodes), default=0.0)),
                decades=sum(found.nodes.get(node, 0.0) for node in nodes) + inner.get(key, 0.0),
                size=sum(found.sizes.get(node, 0.0) for node in nodes),
                parameters=ops.parameters.get(key, ()),
                settings=call.settings,
            )
        )
    return tuple(made)


def _outgoing(passed: Passed, ops: Ops, key: OpKey, call: Call) -> float:
    """The gradient at the operation's outputs: those that another operation uses."""
    backward, graph = passed.backward, passed.graph
    ports = [port for node, number in call.outputs if (port := graph.port(node, number)) is not None]
    if call.composite:
        numbered = ((node, number) for node in ops.nodes[key] for number in range(len(graph.nodes[node]._input_metadata)))
        ports = [port for port in numbered if any(ops.of_node.get(user) != key for user, _ in passed.consumers.get(port, ()))]
    sizes = [(backward.totals[port], backward.elements[port]) for port in ports if port in backward.totals]
    return joint(sizes) if sizes else math.nan


def _incoming(passed: Passed, ops: Ops, key: OpKey) -> float:
    """The gradient that the operation sends on to what is not a parameter."""
    sizes: list[tuple[float, int]] = []
    for node in ops.nodes[key]:
        for slot, port in enumerate(passed.graph.inputs[node]):
            size = passed.backward.contributions.get((node, slot))
            if port is None or size is None or passed.graph.leaves[port[0]] or ops.of_node.get(port[0]) == key:
                continue
            sizes.append((size, passed.backward.elements[port]))
    return joint(sizes) if sizes else math.nan


def _blocks(passed: Passed, ops: Ops, body: Attribution) -> dict[OpKey, str]:
    """The block of every operation on the way."""
    visited = sorted((node for node in body.visits if node in ops.of_node), reverse=True)
    start, begun = len(passed.graph.nodes), {port[0] for port in passed.targets}
    edges = [
        (port[0] if port[0] in body.visits else start, node)
        for node in visited
        for port in passed.graph.inputs[node]
        if port is not None and (port[0] in body.visits or port[0] in begun)
    ]
    borders = set(cuts(edges, [start, *visited]))
    segments: list[list[OpKey]] = [[]]
    placed: set[OpKey] = set()
    last = {key: nodes[0] for key, nodes in ops.nodes.items()}
    for node in visited:
        key = ops.of_node[node]
        if key not in placed and (node == last[key] or node in borders or not _later(ops, key, node, body)):
            segments[-1].append(key)
            placed.add(key)
        if node in borders:
            segments.append([])
    kept = [segment for segment in segments if segment]
    members = [[Member(ops.label[key], passed.recorder.calls[key[0]].path, ops.kind[key]) for key in segment] for segment in kept]
    return {key: name for segment, name in zip(kept, block_names(members), strict=True) for key in segment}


def _later(ops: Ops, key: OpKey, node: int, body: Attribution) -> bool:
    """Whether the operation has another node on the way, nearer to the output."""
    return any(other < node and other in body.visits for other in ops.nodes[key])


def _junctions(passed: Passed, ops: Ops, found: Attribution, blocks: Mapping[OpKey, str]) -> tuple[Junction, ...]:
    made: dict[tuple[str, str, int], Junction] = {}
    for port, (visits, split, interference) in sorted(found.junctions.items(), reverse=True):
        users = _users(passed, ops, found, port)
        if len(users) == 1 < len(passed.consumers[port]):
            continue  # an operation that uses its input twice, such as x / (1 + |x|), has the terms for its own
        origin = ops.of_node.get(port[0])
        here = Junction(
            origin=ops.label[origin] if origin is not None else "(input)",
            path=common_path([passed.recorder.calls[key[0]].path for key in users]),
            block=next((blocks[key] for key in users if key in blocks), ""),
            parts=len(passed.consumers[port]),
            visits=min(1.0, visits),
            split=split,
            interference=interference,
        )
        key = (here.origin, here.block, here.parts)
        made[key] = _joined(made[key], here) if key in made else here
    return tuple(made.values())


def _users(passed: Passed, ops: Ops, found: Attribution, port: Port) -> list[OpKey]:
    """The operations on the way that use a tensor, each once."""
    users = [ops.of_node[node] for node, _ in passed.consumers[port] if node in ops.of_node and node in found.visits]
    return list(dict.fromkeys(users))


def _joined(first: Junction, second: Junction) -> Junction:
    """Two like junctions of one operation, such as those of successive time steps, as one."""
    return replace(
        first,
        visits=max(first.visits, second.visits),
        split=first.split + second.split,
        interference=first.interference + second.interference,
    )


def _target_name(passed: Passed, ops: Ops) -> str:
    if passed.recorder.embedded and any(ops.of_node.get(port[0]) in _embeddings(ops) for port in passed.targets):
        return f"embedding {ops.label[ops.of_node[passed.targets[0][0]]]}"
    return "input"


def _embeddings(ops: Ops) -> set[OpKey]:
    return {key for key, kind in ops.kind.items() if kind == "embedding"}


def _parameters(passed: Passed) -> list[FlowParameter]:
    found: list[FlowParameter] = []
    for name, parameter in passed.network.named_parameters():
        leaf = passed.leaves.get(id(parameter))
        size = passed.backward.totals.get((leaf, 0), -math.inf) if leaf is not None else math.nan
        found.append(FlowParameter(name, tuple(parameter.shape), log10_rms(parameter.detach()), size))
    return found


def _times(passed: Passed, ops: Ops) -> list[TimeProfile]:
    names = {id(parameter): name for name, parameter in passed.network.named_parameters()}
    found: list[TimeProfile] = []
    for time, carried in zip(passed.times, passed.carried, strict=True):
        call = passed.recorder.owner.get(passed.graph.nodes[time.uses[0]])
        own = tuple(_size(passed.backward, node) for node in time.uses)
        through = tuple(_size(carried, node) for node in time.uses[:-1])
        slope = rate(through if any(map(math.isfinite, through)) else own)
        found.append(
            TimeProfile(
                name=names.get(id(passed.graph.nodes[time.leaf].variable), "recurrence"),
                path=call.path if call is not None else "",
                location=passed.recorder.location(call) if call is not None else None,
                log10_gradient_rms=own,
                log10_carried=through,
                decades_per_step=slope,
                horizon=horizon(slope),
                gated=any(_is_gate(ops, node) for node in time.before if time.uses[-1] < node < time.uses[0]),
            )
        )
    return found


def _is_gate(ops: Ops, node: int) -> bool:
    key = ops.of_node.get(node)
    return key is not None and key[1] == "mul" and ops.kind[key] == "merge"


def _size(backward: Backward, node: int) -> float:
    return backward.totals.get((node, 0), math.nan)


def _notes(passed: Passed) -> list[str]:
    notes: list[str] = []
    for each in passed.recorder.breaks[:5]:
        where = f" ({each.location.file}:{each.location.line})" if each.location else ""
        notes.append(f"{each.operation} in {each.path or 'the network itself'} passes no gradient on{where}")
    return notes
