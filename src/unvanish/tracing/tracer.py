"""Traces one forward and one backward pass: what each operation does to the gradient between output and input or a parameter."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from unvanish.errors import TraceError, UsageError
from unvanish.network.unwrapping import unwrapped
from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.structure import Location
from unvanish.tracing.autograd_graph import AutogradGraph, Node, Port, build_graph
from unvanish.tracing.backward_pass import BackwardSizes, ScaledGradient, backpropagate, initial_gradient
from unvanish.tracing.flow_builder import build_flow
from unvanish.tracing.forward_recorder import ForwardRecorder, GradientBreak, OperationCall
from unvanish.tracing.inputs_and_loss import PreparedInputs, prepare_inputs, require_scalar, resolve_loss, tensors_in
from unvanish.tracing.measured_pass import MeasuredPass
from unvanish.tracing.preserved_state import preserved_state, run_inside_backward
from unvanish.tracing.recurrence import Recurrence, find_recurrences

SUM_TOLERANCE = 1e-6  # decades by which the terms may miss the total; rounding of their sum stays far below


def trace(
    model: nn.Module,
    inputs: Any,
    loss: Any,
    *,
    to: str | None = None,
    build_location: Callable[[nn.Module], Location | None] = lambda _: None,
) -> GradientFlow:
    """What every operation does to the gradient between the network's output and its input, or the parameter named by `to`.

    The terms add up to the whole exactly, and gradients of any size are measured, also far outside of the dtype's range. The
    network is traced as it is, in its dtype and its mode, and is left bit for bit as it was. Cost: about two training steps.
    Memory: that of a forward pass.

    Arguments:
        model: the network; compiled and data-parallel wrappers are taken off.
        inputs: one batch: a tensor, a tuple of positional or a dict of keyword arguments. Integer inputs have no gradient, and
            the flow then ends at their embedding.
        loss: a function of the outputs that returns a tensor of one number, or a tensor of targets, which stands for cross-entropy
            (integers, of shape (batch,) or (batch, time)) or the mean squared error (floating point, of the outputs' shape).
        to: the name of the parameter at which the flow ends, as in `model.named_parameters()`; by default it ends at the inputs.
        build_location: gives the line that built a module, None where it is not known.

    Raises:
        UsageError: for arguments that cannot be used.
        TraceError: where no gradient arrives at the target, or one that is not finite.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 1)).double()
        >>> with torch.no_grad():
        ...     for parameter in model.parameters():
        ...         _ = parameter.fill_(0.5)
        >>> flow = trace(model, torch.zeros(3, 4, dtype=torch.float64), lambda outputs: outputs.sum())
        >>> [(op.label, op.kind) for op in flow.ops]
        [('0', 'weight'), ('1', 'activation'), ('2', 'weight')]
        >>> f"{flow.shares('op')['1']:.4f}"  # log10 of the sigmoid's slope at 0.5
        '-0.6289'
        >>> abs(sum(flow.shares("op").values()) - flow.total) < 1e-12
        True
    """
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"trace needs a torch.nn.Module, and was given {type(model).__name__}; pass the network itself")
    network = unwrapped(model)
    compute_loss = resolve_loss(loss)
    target = _find_parameter(network, to) if to is not None else None
    with preserved_state(network):
        prepared = prepare_inputs(inputs)
        recorder = ForwardRecorder(network, build_location)
        recorder.mark_inputs(prepared.differentiable)
        with recorder:
            outputs = network(*prepared.args, **prepared.kwargs)
            for tensor in tensors_in(outputs):
                recorder.record_unobserved(tensor)
            recorder.in_loss = True
            loss_value = require_scalar(compute_loss(outputs))
            recorder.record_unobserved(loss_value)
        measured = _measure_backward(network, recorder, prepared, loss_value, target)
        flow = build_flow(measured, to=to)
        _require_complete_sum(measured, flow)
        return flow


def _measure_backward(
    network: nn.Module, recorder: ForwardRecorder, prepared: PreparedInputs, loss_value: Tensor, target: nn.Parameter | None
) -> MeasuredPass:
    """Runs the backward pass. Raises TraceError where no gradient arrives at the targets, or one that is not finite."""
    _require_usable_loss(recorder, loss_value)
    graph = build_graph(loss_value.grad_fn)
    consumers = graph.consumers()
    producers = {edge: port for port, edges in consumers.items() for edge in edges}
    targets = _find_targets(graph, recorder, prepared, target)
    leaves = {id(graph.nodes[i].variable): i for i, is_leaf in enumerate(graph.is_leaf) if is_leaf}
    in_loss = [_is_in_loss(recorder, node) for node in graph.nodes]
    loss_edges = frozenset(
        (node, slot)
        for node, ports in enumerate(graph.inputs)
        if in_loss[node]
        for slot, port in enumerate(ports)
        if port is not None and not in_loss[port[0]] and (not graph.is_leaf[port[0]] or port in targets)
    )
    recurrences = find_recurrences(graph, consumers)
    results: list[BackwardSizes] = []

    def run() -> None:
        hooks = {port: hooks for output, hooks in recorder.tensor_hooks.items() if (port := graph.port(*output)) is not None}
        results.append(
            backpropagate(
                graph,
                {(0, loss_value.output_nr): [initial_gradient(loss_value.detach().new_ones(loss_value.shape))]},
                kept_edges=loss_edges.union(*(recurrence.state_edges for recurrence in recurrences)),
                hooks=hooks,
                argument_positions=recorder.argument_positions,
            )
        )
        results.extend(_backpropagate_recurrence(graph, results[0], recurrence) for recurrence in recurrences)

    run_inside_backward(run)
    measured = MeasuredPass(
        network, recorder, graph, consumers, producers, results[0], targets, in_loss, loss_edges, leaves, recurrences, results[1:]
    )
    _require_usable_gradient(measured, loss_value)
    return measured


def _backpropagate_recurrence(graph: AutogradGraph, backward: BackwardSizes, recurrence: Recurrence) -> BackwardSizes:
    """The sizes of what the gradient that enters a recurrence at its last step becomes on its way back through it."""
    gradients: dict[Port, list[ScaledGradient]] = {}
    for node, slot in sorted(recurrence.state_edges):
        if (contribution := backward.kept_gradients.get((node, slot))) is not None:
            port = graph.inputs[node][slot]
            assert port is not None
            gradients.setdefault(port, []).append(contribution)
    return backpropagate(graph, gradients, is_included=recurrence.ancestors.__contains__)


def _is_in_loss(recorder: ForwardRecorder, node: Node) -> bool:
    call = recorder.call_of_node.get(node)
    return call is not None and call.in_loss


def _find_targets(
    graph: AutogradGraph, recorder: ForwardRecorder, prepared: PreparedInputs, parameter: nn.Parameter | None
) -> list[Port]:
    """The tensors at which the flow ends. Raises TraceError where the loss depends on none of them."""
    if parameter is not None:
        targets = [(i, 0) for i, is_leaf in enumerate(graph.is_leaf) if is_leaf and graph.nodes[i].variable is parameter]
        description = "that parameter"
    elif prepared.differentiable:
        ports = [graph.port(*output) for output in recorder.inputs]
        targets = [port for port in ports if port is not None]
        description = "the inputs"
    else:
        of_inputs = [output for output, storage in recorder.embedding_outputs if storage in prepared.integer_storages]
        ports = [graph.port(*output) for output in of_inputs or [output for output, _ in recorder.embedding_outputs]]
        targets = [port for port in ports if port is not None]
        description = "an embedding of the integer inputs"
        if not recorder.embedding_outputs:
            raise TraceError(
                "the inputs are integers, which have no gradient, and the network has no embedding of them; give floating-point "
                "inputs, or trace to a parameter"
            )
    if not targets:
        raise TraceError(f"the loss depends on {description} by no path that carries a gradient{_describe_breaks(recorder.breaks)}")
    return targets


def _require_usable_loss(recorder: ForwardRecorder, loss_value: Tensor) -> None:
    """Raises TraceError for a loss without a gradient, or one that is not finite."""
    if loss_value.grad_fn is None:
        raise TraceError(f"the loss depends on nothing that carries a gradient{_describe_breaks(recorder.breaks)}")
    if not bool(loss_value.isfinite()):
        call = next((call for call in recorder.calls if not math.isfinite(call.mean + call.std)), None)
        origin = ""
        if call is not None:
            origin = f"; the first values that are not finite come out of {_describe_call(recorder, call)}"
        raise TraceError(f"the loss is {loss_value.item()}{origin}")


def _require_usable_gradient(measured: MeasuredPass, loss_value: Tensor) -> None:
    """Raises TraceError for a gradient that is not finite, or exactly zero at the output already."""
    sizes = [measured.backward.totals.get(port, -math.inf) for port in measured.targets]
    if any(math.isnan(size) for size in sizes):
        raise TraceError(
            f"the gradient is not finite although the loss is {loss_value.item():.4g}{_describe_first_non_finite(measured)}"
        )
    at_output = [measured.backward.contributions.get(edge, -math.inf) for edge in measured.loss_edges]
    if at_output and max(at_output) == -math.inf:
        raise TraceError(
            f"the loss is {loss_value.item():.4g} and its gradient at the output is exactly zero; does it depend on the outputs?"
        )


def _require_complete_sum(measured: MeasuredPass, flow: GradientFlow) -> None:
    """Raises TraceError where the terms miss the total, since values that are not finite were masked out on the way."""
    is_complete = math.isclose(sum(flow.shares("op").values()), flow.total, rel_tol=0.0, abs_tol=SUM_TOLERANCE)
    if measured.backward.first_non_finite is not None and not is_complete:
        raise TraceError(
            "the gradient stops being finite on its way, and what is not finite is masked out later"
            f"{_describe_first_non_finite(measured)}"
        )


def _describe_first_non_finite(measured: MeasuredPass) -> str:
    """Where values that are not finite arose first, as the end of a sentence."""
    node = measured.backward.first_non_finite
    call = measured.recorder.call_of_node.get(measured.graph.nodes[node]) if node is not None else None
    if call is None:
        return ""
    return f"; it first stops being finite in the backward pass of {_describe_call(measured.recorder, call)}"


def _describe_call(recorder: ForwardRecorder, call: OperationCall) -> str:
    return _describe_place(call.operation, call.path, recorder.location(call))


def _describe_breaks(breaks: list[GradientBreak]) -> str:
    """Where the gradient ends, as the end of a sentence."""
    if not breaks:
        return "; is requires_grad off for all of it?"
    return f": it ends at {'; '.join(_describe_place(end.operation, end.path, end.location) for end in breaks[:3])}"


def _describe_place(operation: str, path: str, location: Location | None) -> str:
    line = f" ({location.file}:{location.line}  {location.text})" if location else ""
    return f"{operation} in {path or 'the network itself'}{line}"


def _find_parameter(network: nn.Module, name: str) -> nn.Parameter:
    """The parameter of that name. Raises UsageError where there is none, or it is frozen."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    if name not in parameters:
        similar = difflib.get_close_matches(name, parameters, n=1)
        first_names = f"{', '.join(list(parameters)[:5])}{' ...' if len(parameters) > 5 else ''}"
        hint = f"; did you mean {similar[0]}?" if similar else f"; it has {first_names}"
        raise UsageError(f"{type(network).__name__} has no parameter {name!r}{hint}")
    if not parameters[name].requires_grad:
        raise UsageError(f"the parameter {name} is frozen (requires_grad is off), so no gradient goes to it")
    return parameters[name]
