"""Plans the replacement of a network's output activation by another one, added as a forward hook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.network.module_hooks import forward_hooks
from unvanish.network.module_kinds import WEIGHTED
from unvanish.record.network_changes import Edit
from unvanish.remedies.base import Context, Operation
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.layers.bounded_scores import AppendLogSoftmax, AppendSoftmax, append_sigmoid
from unvanish.remedies.structure.input_output_layers import output_positions
from unvanish.remedies.structure.output_activations import LOGARITHMS, output_squashes, removal_operations

OutputHook = Callable[[nn.Module, Any, Any], Any]


def replace_output_activation(
    network: nn.Module, context: Context, choose_hook: Callable[[ForwardGraph], OutputHook], *, op: str, remedy: str
) -> tuple[Operation, ...]:
    """The operations that drop the activations at the network's output, and add a forward hook that computes another one.

    Arguments:
        network: the network to treat.
        context: as in `Remedy.plan`.
        choose_hook: gives the hook for the traced network.
        op: name of the new activation: sigmoid, softmax or log_softmax.
        remedy: name of the remedy, with which messages begin.

    Raises:
        NotApplicable: the network ends in it already, returns logarithms of probabilities, or cannot be traced.
    """
    name = type(network).__name__
    graph = trace_graph(network, context.inputs)
    if not graph.is_traced and len(graph.steps) > 1:
        raise NotApplicable(
            f"{remedy}: the forward of {name} could not be traced, so that it is not known what it ends in; pass inputs=, or put "
            f"the {op} in by hand"
        )
    if output_squashes(graph, LOGARITHMS):
        raise NotApplicable(
            f"{remedy}: {name} puts out logarithms of probabilities, which suit a likelihood; nothing is left to do"
        )
    present = output_squashes(graph)
    if any(_is_output_hook(hook) for hook in forward_hooks(network)):
        raise NotApplicable(f"{remedy}: {name} was given another end already; undo that first")
    if any(_is_wanted(step, op, graph) for step in present):
        raise NotApplicable(f"{remedy}: {name} ends in a {op} already; bounded-logits keeps its probabilities off 0 and 1")
    return (*removal_operations(network, present, remedy=remedy), _AddOutputHook(name, op, choose_hook(graph)))


def class_axis_and_count(graph: ForwardGraph) -> tuple[int, int | None]:
    """The axis of the classes in the network's output, and their number, None where it is not known.

    It is the axis of the last layer's features: the last one of a Linear layer, the second one of a convolution.
    """
    last_layers = [graph.steps[position].module for position in output_positions(graph)]
    weighted = [layer for layer in last_layers if isinstance(layer, WEIGHTED)]
    counts = {layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels for layer in weighted}
    only_convolutions = 0 < len(weighted) == len(last_layers) and not any(isinstance(layer, nn.Linear) for layer in weighted)
    return 1 if only_convolutions else -1, counts.pop() if len(counts) == 1 else None


@dataclass(frozen=True, slots=True)
class _AddOutputHook(Operation):
    """Registers a forward hook that passes the network's output through another activation."""

    network: str
    op: str
    output_hook: OutputHook

    @property
    def edit(self) -> Edit:
        """The insertion of the activation behind the network's output."""
        hook = self.output_hook
        axis = f" along axis {hook.axis}" if isinstance(hook, (AppendSoftmax, AppendLogSoftmax)) else ""
        return Edit("insert", "", self.network, f"{self.network}, {self.op} of its output{axis}")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Registers the hook."""
        del optimizers
        network.register_forward_hook(self.output_hook)


def _is_wanted(step: GraphStep, op: str, graph: ForwardGraph) -> bool:
    """Whether a step is the wanted operation; a softmax has to be known to run over the classes."""
    if step.op.removeprefix("bounded") != op:
        return False
    return op != "softmax" or (isinstance(step.module, nn.Softmax) and step.module.dim in (-1, 1, class_axis_and_count(graph)[0]))


def _is_output_hook(hook: object) -> bool:
    return hook is append_sigmoid or isinstance(hook, (AppendSoftmax, AppendLogSoftmax))
