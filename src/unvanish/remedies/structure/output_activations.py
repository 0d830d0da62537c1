"""Finds activations that squash a network's output (only reshaping follows them), and plans their removal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn

from unvanish.remedies.base import Operation
from unvanish.remedies.edits.activation_replacement import rewrite_calls
from unvanish.remedies.edits.method_rewriting import NO_CALL
from unvanish.remedies.edits.module_edits import Replace, module_places
from unvanish.remedies.graph.call_sites import CallSite
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.signal_kinds import Kind

BOUNDED_SQUASHES = frozenset({"boundedsoftmax", "boundedsigmoid"})
"""The functions that the remedy bounded-logits calls."""

SQUASHES = BOUNDED_SQUASHES | {
    *("softmax", "softmax2d", "sigmoid", "hardsigmoid", "tanh", "hardtanh"),
    *("relu", "relu6", "softplus", "softsign"),
}
"""Activations that squash or clip. log_softmax and logsigmoid do neither: losses that expect logarithms need them."""

LOGARITHMS = frozenset({"logsoftmax", "logsigmoid"})


def output_squashes(graph: ForwardGraph, operations: Collection[str] = SQUASHES) -> list[GraphStep]:
    """The steps at the output that are one of `operations`: one for each module or call site whose uses are all at the output."""
    uses: dict[nn.Module | CallSite, list[int]] = {}
    for position, step in enumerate(graph.steps):
        key = step.module if step.module is not None else step.site
        if step.op in operations and key is not None and (step.path or step.module is None):
            uses.setdefault(key, []).append(position)
    return [graph.steps[positions[0]] for positions in uses.values() if all(_is_output(position, graph) for position in positions)]


def removal_operations(network: nn.Module, steps: Sequence[GraphStep], *, remedy: str) -> tuple[Operation, ...]:
    """The operations that remove steps. Raises NotApplicable, in the name of `remedy`, where a call cannot be edited."""
    places = module_places(network)
    modules = {step.module: step.path for step in steps if step.module is not None}
    return (
        *(Replace(path, module, nn.Identity(), places[module], action="remove") for module, path in modules.items()),
        *rewrite_calls(network, [(step, NO_CALL) for step in steps if step.module is None], remedy=remedy),
    )


def _is_output(position: int, graph: ForwardGraph) -> bool:
    """Whether a step's result leaves the network after reshaping and neutral steps alone."""
    if not graph.is_traced:
        return position == len(graph.steps) - 1
    consumers = graph.consumers[position]
    return bool(consumers) and all(
        graph.steps[consumer].op == "output"
        or (graph.steps[consumer].kind in (Kind.RESHAPE, Kind.NEUTRAL) and _is_output(consumer, graph))
        for consumer in consumers
    )
