"""Builds the `GradientFlow` of a measured pass: operations with their terms and blocks, junctions, recurrences and parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from unvanish.record.gradient_flow import FlowOp, FlowParameter, GradientFlow, Junction, TimeProfile
from unvanish.tracing.autograd_graph import Port
from unvanish.tracing.backward_pass import BackwardSizes
from unvanish.tracing.blocks import BlockMember, common_path, find_cuts, name_blocks
from unvanish.tracing.decade_attribution import Attribution, GradientSizes, attribute, joint_log10_rms
from unvanish.tracing.forward_recorder import OperationCall
from unvanish.tracing.log_magnitude import log10_rms
from unvanish.tracing.measured_pass import MeasuredPass
from unvanish.tracing.operation_table import OperationKey, OperationTable, collect_operations
from unvanish.tracing.recurrence import fit_decades_per_step, horizon_steps


def build_flow(measured: MeasuredPass, *, to: str | None) -> GradientFlow:
    """The gradient flow of a measured pass; `to` names the parameter at which it ends, if any."""
    ops = collect_operations(measured)
    sources = _source_sizes(measured)
    body = attribute(_network_sizes(measured), measured.targets, sources)
    head = Attribution(0.0, 0.0)
    if measured.loss_edges:
        head = attribute(_loss_sizes(measured, sources), list(sources), {(0, 0): 0.0})
    source_rms = joint_log10_rms([(size, measured.backward.elements[port]) for port, size in sources.items()])
    blocks = _assign_blocks(measured, ops, body)
    return GradientFlow(
        network=type(measured.network).__name__,
        source="output",
        target=to or _target_name(measured, ops),
        dtype=str(next((p.dtype for p in measured.network.parameters()), "")).removeprefix("torch."),
        log10_source_rms=source_rms,
        log10_target_rms=source_rms + body.total,
        ops=_build_ops(measured, ops, body, blocks, in_loss=False),
        junctions=_build_junctions(measured, ops, body, blocks),
        ends=body.ends,
        loss_ops=_build_ops(measured, ops, head, {}, in_loss=True),
        loss_junctions=_build_junctions(measured, ops, head, {}),
        loss_ends=head.ends,
        parameters=tuple(_build_parameters(measured)),
        times=tuple(_build_time_profiles(measured, ops)),
        notes=tuple(_build_notes(measured)),
    )


def _source_sizes(measured: MeasuredPass) -> dict[Port, float]:
    """log10 RMS of the gradient that the loss hands to each tensor of the network: as a rule, to its output."""
    sums: dict[Port, Any] = {}
    sizes: dict[Port, float] = {}
    for node, slot in sorted(measured.loss_edges):
        port = measured.graph.inputs[node][slot]
        gradient = measured.backward.kept_gradients.get((node, slot))
        if port is not None and gradient is not None:
            value = gradient.tensor.to(torch.complex128 if gradient.tensor.is_complex() else torch.float64) * 2.0**gradient.exponent
            sums[port] = sums[port] + value if port in sums else value
    hooked = {measured.graph.port(*output) for output in measured.recorder.tensor_hooks}
    for port, value in sums.items():
        is_from_loss_only = port not in hooked and measured.loss_edges.issuperset(measured.consumers[port])
        sizes[port] = measured.backward.totals[port] if is_from_loss_only else log10_rms(value)
    return sizes or {(0, 0): 0.0}


def _network_sizes(measured: MeasuredPass) -> GradientSizes:
    """The sizes within the network, without what the loss contributed."""
    return GradientSizes(
        {edge: size for edge, size in measured.backward.contributions.items() if not measured.in_loss[edge[0]]},
        measured.backward.totals,
        measured.backward.elements,
        measured.consumers,
        measured.producers,
    )


def _loss_sizes(measured: MeasuredPass, sources: Mapping[Port, float]) -> GradientSizes:
    """The sizes within the loss, down to the network's output."""
    totals = {port: size for port, size in measured.backward.totals.items() if measured.in_loss[port[0]]}
    return GradientSizes(
        {edge: size for edge, size in measured.backward.contributions.items() if measured.in_loss[edge[0]]},
        totals | dict(sources),
        measured.backward.elements,
        measured.consumers,
        measured.producers,
    )


def _build_ops(
    measured: MeasuredPass, ops: OperationTable, terms: Attribution, blocks: Mapping[OperationKey, str], *, in_loss: bool
) -> tuple[FlowOp, ...]:
    """The operations of the network, or those of the loss."""
    flow_ops: list[FlowOp] = []
    recorder = measured.recorder
    inner_terms: dict[OperationKey, float] = {}  # of junctions within an operation
    for port, (_, split, interference) in terms.junctions.items():
        if len(users := _consuming_operations(measured, ops, terms, port)) == 1 < len(measured.consumers[port]):
            inner_terms[users[0]] = inner_terms.get(users[0], 0.0) + split + interference
    for key, label in ops.labels.items():
        call = recorder.calls[key[0]]
        if call.in_loss is not in_loss:
            continue
        nodes = ops.nodes[key]
        module = recorder.module_calls[call.module_call].module
        is_whole_module = module is not None and label.split("#")[0] == call.path
        flow_ops.append(
            FlowOp(
                label=label,
                path=call.path,
                op=type(module).__name__.lower() if is_whole_module else key[1],
                kind=ops.kinds[key],
                block=blocks.get(key, ""),
                order=len(flow_ops),
                location=recorder.location(call),
                output_mean=call.mean,
                output_std=call.std,
                log10_gradient_out=_gradient_at_outputs(measured, ops, key, call),
                log10_gradient_in=_gradient_at_inputs(measured, ops, key),
                visits=min(1.0, max((terms.visits.get(node, 0.0) for node in nodes), default=0.0)),
                decades=sum(terms.nodes.get(node, 0.0) for node in nodes) + inner_terms.get(key, 0.0),
                size=sum(terms.sizes.get(node, 0.0) for node in nodes),
                parameters=ops.parameters.get(key, ()),
                settings=call.settings,
            )
        )
    return tuple(flow_ops)


def _gradient_at_outputs(measured: MeasuredPass, ops: OperationTable, key: OperationKey, call: OperationCall) -> float:
    """log10 RMS of the gradient at the operation's outputs: those that another operation uses."""
    backward, graph = measured.backward, measured.graph
    ports = [port for node, number in call.outputs if (port := graph.port(node, number)) is not None]
    if call.is_composite:
        outputs = ((node, number) for node in ops.nodes[key] for number in range(len(graph.nodes[node]._input_metadata)))
        ports = [p for p in outputs if any(ops.key_of_node.get(user) != key for user, _ in measured.consumers.get(p, ()))]
    sizes = [(backward.totals[port], backward.elements[port]) for port in ports if port in backward.totals]
    return joint_log10_rms(sizes) if sizes else math.nan


def _gradient_at_inputs(measured: MeasuredPass, ops: OperationTable, key: OperationKey) -> float:
    """log10 RMS of the gradient that the operation sends on to what is not a parameter."""
    sizes: list[tuple[float, int]] = []
    for node in ops.nodes[key]:
        for slot, port in enumerate(measured.graph.inputs[node]):
            size = measured.backward.contributions.get((node, slot))
            if port is None or size is None or measured.graph.is_leaf[port[0]] or ops.key_of_node.get(port[0]) == key:
                continue
            sizes.append((size, measured.backward.elements[port]))
    return joint_log10_rms(sizes) if sizes else math.nan


def _assign_blocks(measured: MeasuredPass, ops: OperationTable, terms: Attribution) -> dict[OperationKey, str]:
    """The block of every operation that the gradient passes."""
    visited = sorted((node for node in terms.visits if node in ops.key_of_node), reverse=True)
    start, target_nodes = len(measured.graph.nodes), {port[0] for port in measured.targets}
    edges = [
        (port[0] if port[0] in terms.visits else start, node)
        for node in visited
        for port in measured.graph.inputs[node]
        if port is not None and (port[0] in terms.visits or port[0] in target_nodes)
    ]
    cuts = set(find_cuts(edges, [start, *visited]))
    segments: list[list[OperationKey]] = [[]]
    assigned: set[OperationKey] = set()
    last = {key: nodes[0] for key, nodes in ops.nodes.items()}
    for node in visited:
        key = ops.key_of_node[node]
        if key not in assigned and (node == last[key] or node in cuts or not _has_later_node(ops, key, node, terms)):
            segments[-1].append(key)
            assigned.add(key)
        if node in cuts:
            segments.append([])
    filled = [segment for segment in segments if segment]
    calls = measured.recorder.calls
    members = [[BlockMember(ops.labels[key], calls[key[0]].path, ops.kinds[key]) for key in segment] for segment in filled]
    return {key: name for segment, name in zip(filled, name_blocks(members), strict=True) for key in segment}


def _has_later_node(ops: OperationTable, key: OperationKey, node: int, terms: Attribution) -> bool:
    """Whether the gradient passes another node of the operation, nearer to the output."""
    return any(other < node and other in terms.visits for other in ops.nodes[key])


def _build_junctions(
    measured: MeasuredPass, ops: OperationTable, terms: Attribution, blocks: Mapping[OperationKey, str]
) -> tuple[Junction, ...]:
    junctions: dict[tuple[str, str, int], Junction] = {}
    for port, (visits, split, interference) in sorted(terms.junctions.items(), reverse=True):
        users = _consuming_operations(measured, ops, terms, port)
        if len(users) == 1 < len(measured.consumers[port]):
            continue  # an operation that uses its input twice, such as x / (1 + |x|), has the terms for its own
        origin = ops.key_of_node.get(port[0])
        junction = Junction(
            origin=ops.labels[origin] if origin is not None else "(input)",
            path=common_path([measured.recorder.calls[key[0]].path for key in users]),
            block=next((blocks[key] for key in users if key in blocks), ""),
            parts=len(measured.consumers[port]),
            visits=min(1.0, visits),
            split=split,
            interference=interference,
        )
        key = (junction.origin, junction.block, junction.parts)
        junctions[key] = _merge_junctions(junctions[key], junction) if key in junctions else junction
    return tuple(junctions.values())


def _consuming_operations(measured: MeasuredPass, ops: OperationTable, terms: Attribution, port: Port) -> list[OperationKey]:
    """The operations that use a tensor and that the gradient passes, each once."""
    users = [ops.key_of_node[node] for node, _ in measured.consumers[port] if node in ops.key_of_node and node in terms.visits]
    return list(dict.fromkeys(users))


def _merge_junctions(first: Junction, second: Junction) -> Junction:
    """Two like junctions of one operation, such as those of successive time steps, as one."""
    return replace(
        first,
        visits=max(first.visits, second.visits),
        split=first.split + second.split,
        interference=first.interference + second.interference,
    )


def _target_name(measured: MeasuredPass, ops: OperationTable) -> str:
    embeddings = {key for key, kind in ops.kinds.items() if kind == "embedding"}
    if measured.recorder.embedding_outputs and any(ops.key_of_node.get(port[0]) in embeddings for port in measured.targets):
        return f"embedding {ops.labels[ops.key_of_node[measured.targets[0][0]]]}"
    return "input"


def _build_parameters(measured: MeasuredPass) -> list[FlowParameter]:
    parameters: list[FlowParameter] = []
    for name, parameter in measured.network.named_parameters():
        leaf = measured.leaves.get(id(parameter))
        size = measured.backward.totals.get((leaf, 0), -math.inf) if leaf is not None else math.nan
        parameters.append(FlowParameter(name, tuple(parameter.shape), log10_rms(parameter.detach()), size))
    return parameters


def _build_time_profiles(measured: MeasuredPass, ops: OperationTable) -> list[TimeProfile]:
    names = {id(parameter): name for name, parameter in measured.network.named_parameters()}
    profiles: list[TimeProfile] = []
    for recurrence, carried in zip(measured.recurrences, measured.carried, strict=True):
        call = measured.recorder.call_of_node.get(measured.graph.nodes[recurrence.uses[0]])
        gradient_sizes = tuple(_gradient_size(measured.backward, node) for node in recurrence.uses)
        carried_sizes = tuple(_gradient_size(carried, node) for node in recurrence.uses[:-1])
        slope = fit_decades_per_step(carried_sizes if any(map(math.isfinite, carried_sizes)) else gradient_sizes)
        within_step = (node for node in recurrence.ancestors if recurrence.uses[-1] < node < recurrence.uses[0])
        profiles.append(
            TimeProfile(
                name=names.get(id(measured.graph.nodes[recurrence.leaf].variable), "recurrence"),
                path=call.path if call is not None else "",
                location=measured.recorder.location(call) if call is not None else None,
                log10_gradient_rms=gradient_sizes,
                log10_carried=carried_sizes,
                decades_per_step=slope,
                horizon=horizon_steps(slope),
                gated=any(_is_gate(ops, node) for node in within_step),
            )
        )
    return profiles


def _is_gate(ops: OperationTable, node: int) -> bool:
    """Whether a node multiplies two signals."""
    key = ops.key_of_node.get(node)
    return key is not None and key[1] == "mul" and ops.kinds[key] == "merge"


def _gradient_size(backward: BackwardSizes, node: int) -> float:
    return backward.totals.get((node, 0), math.nan)


def _build_notes(measured: MeasuredPass) -> list[str]:
    notes: list[str] = []
    for end in measured.recorder.breaks[:5]:
        line = f" ({end.location.file}:{end.location.line})" if end.location else ""
        notes.append(f"{end.operation} in {end.path or 'the network itself'} passes no gradient on{line}")
    return notes
