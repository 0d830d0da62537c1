"""One forward and one backward pass of a network, taken apart: the gradient's flow from its output to its input or a parameter."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from unvanish.errors import TraceError, UsageError
from unvanish.record.flow import GradientFlow
from unvanish.record.structure import Location
from unvanish.tracing.autograd_graph import Graph, Port, graph_behind
from unvanish.tracing.backward_pass import Backward, Scaled, propagate, seed
from unvanish.tracing.flow_builder import Passed, flow_of
from unvanish.tracing.forward_recorder import Break, Call, Recorder
from unvanish.tracing.inputs_and_loss import PreparedInputs, loss_of, one_number, prepare_inputs, tensors_in
from unvanish.tracing.preserved_state import preserved_state, within_engine
from unvanish.tracing.recurrence import Recurrence, recurrences

CLOSED = 1e-6  # decades by which the terms may miss the total; rounding of their sum stays far below
WRAPPED = ("_orig_mod", "module")  # how torch.compile and the data-parallel wrappers name the network inside


def trace(
    model: nn.Module,
    inputs: Any,
    loss: Any,
    *,
    to: str | None = None,
    births: Callable[[nn.Module], Location | None] = lambda _: None,
) -> GradientFlow:
    """Where the gradient goes between the network's output and its input, or the parameter named by `to`, operation by operation.

    `inputs` is a tensor, a tuple of positional or a dict of keyword arguments; integer inputs have no gradient, and the flow then
    ends at their embedding. `loss` takes the outputs and returns one number; a tensor of targets stands for the usual loss.
    `births` gives the line that built a module. The network is traced as it is, in its dtype and its mode, and is left bit for
    bit as it was; gradients of any size are measured. Cost: about two training steps. Memory: that of a forward pass.

    Raises UsageError for arguments that cannot be used, TraceError where no gradient arrives at the target, or one that is not
    finite.
    """
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"trace needs a torch.nn.Module, and was given {type(model).__name__}; pass the network itself")
    network = _unwrapped(model)
    judge = loss_of(loss)
    leaf = _parameter(network, to) if to is not None else None
    with preserved_state(network):
        given = prepare_inputs(inputs)
        recorder = Recorder(network, births)
        recorder.begins_at(given.reachable)
        with recorder:
            outputs = network(*given.args, **given.kwargs)
            for tensor in tensors_in(outputs):
                recorder.finish(tensor)
            recorder.in_loss = True
            value = one_number(judge(outputs))
            recorder.finish(value)
        passed = _passed(network, recorder, given, value, leaf)
        flow = flow_of(passed, to=to)
        _refuse_gap(passed, flow)
        return flow


def _passed(network: nn.Module, recorder: Recorder, given: PreparedInputs, value: Tensor, leaf: nn.Parameter | None) -> Passed:
    """The backward pass, measured."""
    _refuse_loss(recorder, value)
    graph = graph_behind(value.grad_fn)
    consumers = graph.consumers()
    producers = {edge: port for port, edges in consumers.items() for edge in edges}
    targets = _targets(graph, recorder, given, leaf)
    leaves = {id(graph.nodes[i].variable): i for i, is_leaf in enumerate(graph.leaves) if is_leaf}
    in_loss = [_in_loss(recorder, node) for node in graph.nodes]
    loss_edges = frozenset(
        (node, slot)
        for node, ports in enumerate(graph.inputs)
        if in_loss[node]
        for slot, port in enumerate(ports)
        if port is not None and not in_loss[port[0]] and (not graph.leaves[port[0]] or port in targets)
    )
    times = recurrences(graph, consumers)
    results: list[Backward] = []

    def run() -> None:
        hooks = {place: found for port, found in recorder.tensor_hooks.items() if (place := graph.port(*port)) is not None}
        keep = loss_edges.union(*(time.state_edges for time in times))
        results.append(
            propagate(
                graph,
                {(0, value.output_nr): [seed(value.detach().new_ones(value.shape))]},
                keep=keep,
                hooks=hooks,
                argument_places=recorder.argument_places,
            )
        )
        results.extend(_carried(graph, results[0], time) for time in times)

    within_engine(run)
    passed = Passed(
        network, recorder, graph, consumers, producers, results[0], targets, in_loss, loss_edges, leaves, times, results[1:]
    )
    _refuse_gradient(passed, value)
    return passed


def _carried(graph: Graph, whole: Backward, time: Recurrence) -> Backward:
    """What the gradient that enters a recurrence at its last step becomes on its way back through it."""
    seeds: dict[Port, list[Scaled]] = {}
    for node, slot in sorted(time.state_edges):
        if (contribution := whole.kept.get((node, slot))) is not None:
            port = graph.inputs[node][slot]
            assert port is not None
            seeds.setdefault(port, []).append(contribution)
    return propagate(graph, seeds, within=time.before.__contains__)


def _in_loss(recorder: Recorder, node: Any) -> bool:
    call = recorder.owner.get(node)
    return call is not None and call.in_loss


def _targets(graph: Graph, recorder: Recorder, given: PreparedInputs, leaf: nn.Parameter | None) -> list[Port]:
    """The tensors at which the flow ends. Raises TraceError where the loss depends on none of them."""
    if leaf is not None:
        found = [(i, 0) for i, is_leaf in enumerate(graph.leaves) if is_leaf and graph.nodes[i].variable is leaf]
        what = "that parameter"
    elif given.reachable:
        ports = [graph.port(*port) for port in recorder.starts]
        found = [port for port in ports if port is not None]
        what = "the inputs"
    else:
        own = [port for port, storage in recorder.embedded if storage in given.storages]
        ports = [graph.port(*port) for port in own or [port for port, _ in recorder.embedded]]
        found = [port for port in ports if port is not None]
        what = "an embedding of the integer inputs"
        if not recorder.embedded:
            raise TraceError(
                "the inputs are integers, which have no gradient, and the network has no embedding of them; give floating-point "
                "inputs, or trace to a parameter"
            )
    if not found:
        raise TraceError(f"the loss depends on {what} by no path that carries a gradient{_told(recorder.breaks)}")
    return found


def _refuse_loss(recorder: Recorder, value: Tensor) -> None:
    if value.grad_fn is None:
        raise TraceError(f"the loss depends on nothing that carries a gradient{_told(recorder.breaks)}")
    if not bool(value.isfinite()):
        call = next((call for call in recorder.calls if not math.isfinite(call.mean + call.std)), None)
        where = f"; the first values that are not finite come out of {_said(recorder, call)}" if call is not None else ""
        raise TraceError(f"the loss is {value.item()}{where}")


def _refuse_gradient(passed: Passed, value: Tensor) -> None:
    sizes = [passed.backward.totals.get(port, -math.inf) for port in passed.targets]
    if any(math.isnan(size) for size in sizes):
        raise TraceError(f"the gradient is not finite although the loss is {value.item():.4g}{_unsound(passed)}")
    handed = [passed.backward.contributions.get(edge, -math.inf) for edge in passed.loss_edges]
    if handed and max(handed) == -math.inf:
        raise TraceError(
            f"the loss is {value.item():.4g} and its gradient at the output is exactly zero; does it depend on the outputs?"
        )


def _refuse_gap(passed: Passed, flow: GradientFlow) -> None:
    """Values that are not finite may be masked out again on their way; the gradient arrives, but nobody can say by which path."""
    closed = math.isclose(sum(flow.shares("op").values()), flow.total, rel_tol=0.0, abs_tol=CLOSED)
    if passed.backward.unsound is not None and not closed:
        raise TraceError(
            f"the gradient stops being finite on its way, and what is not finite is masked out later{_unsound(passed)}"
        )


def _unsound(passed: Passed) -> str:
    """Where values that are not finite arose first, as the end of a sentence."""
    unsound = passed.backward.unsound
    call = passed.recorder.owner.get(passed.graph.nodes[unsound]) if unsound is not None else None
    return f"; it first stops being finite in the backward pass of {_said(passed.recorder, call)}" if call else ""


def _said(recorder: Recorder, call: Call) -> str:
    place = recorder.location(call)
    line = f" ({place.file}:{place.line}  {place.text})" if place else ""
    return f"{call.operation} in {call.path or 'the network itself'}{line}"


def _told(breaks: list[Break]) -> str:
    """Where the gradient was seen to end, as the end of a sentence."""
    if not breaks:
        return "; is requires_grad off for all of it?"
    places = [
        f"{each.operation} in {each.path or 'the network itself'}"
        + (f" ({each.location.file}:{each.location.line}  {each.location.text})" if each.location else "")
        for each in breaks[:3]
    ]
    return f": it ends at {'; '.join(places)}"


def _parameter(network: nn.Module, name: str) -> nn.Parameter:
    """The parameter of that name. Raises UsageError where there is none, or it is frozen."""
    found = dict(network.named_parameters(remove_duplicate=False))
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(list(found)[:5])}{' ...' if len(found) > 5 else ''}"
        raise UsageError(f"{type(network).__name__} has no parameter {name!r}{hint}")
    if not found[name].requires_grad:
        raise UsageError(f"the parameter {name} is frozen (requires_grad is off), so no gradient goes to it")
    return found[name]


def _unwrapped(model: nn.Module) -> nn.Module:
    """The network behind wrappers that only run it (compiled, data-parallel)."""
    children = dict(model.named_children())
    if len(children) == 1 and type(model).__name__ in ("OptimizedModule", "DataParallel", "DistributedDataParallel"):
        (name, inner), *_ = children.items()
        return _unwrapped(inner) if name in WRAPPED else model
    return model
