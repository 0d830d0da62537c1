"""Ends a network in another squash than it has. It decides which of its own goes, not which comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.record.change import Edit
from unvanish.remedies.base import Context, Operation
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import WEIGHTED
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.layers.bounded import LogSoftmaxBehind, SoftmaxBehind, sigmoid_behind
from unvanish.remedies.structure.outer_layers import at_output
from unvanish.remedies.structure.output_squash import LOGARITHMS, dropped, squashes

Behind = Callable[[nn.Module, Any, Any], Any]


def ended(
    network: nn.Module, context: Context, behind: Callable[[ForwardGraph], Behind], *, op: str, remedy: str
) -> tuple[Operation, ...]:
    """The operations that drop what squeezes the output and end the network in `op`, by the hook that is chosen for its layout.

    Raises NotApplicable, in the name of `remedy`, where it ends so already, puts out logarithms, or cannot be followed.
    """
    name = type(network).__name__
    layout = trace_graph(network, context.inputs)
    if not layout.traced and len(layout.steps) > 1:
        raise NotApplicable(
            f"{remedy}: the forward of {name} could not be traced, so that it is not known what it ends in; pass inputs=, or put "
            f"the {op} in by hand"
        )
    if squashes(layout, LOGARITHMS):
        raise NotApplicable(
            f"{remedy}: {name} puts out logarithms of probabilities, which suit a likelihood; nothing is left to do"
        )
    there = squashes(layout)
    if any(_ends(hook) for hook in vars(network)["_forward_hooks"].values()):
        raise NotApplicable(f"{remedy}: {name} was given another end already; undo that first")
    if any(_is_right(step, op, layout) for step in there):
        raise NotApplicable(f"{remedy}: {name} ends in a {op} already; bounded-logits keeps its probabilities off 0 and 1")
    return (*dropped(network, there, remedy=remedy), _End(name, op, behind(layout)))


def classes(layout: ForwardGraph) -> tuple[int, int | None]:
    """The axis along which the last layer puts out its features, the last of a Linear layer, the second of a convolution; and how
    many they are, where that is known."""
    last = [layout.steps[at].module for at in at_output(layout)]
    counts = {
        each.out_features if isinstance(each, nn.Linear) else each.out_channels for each in last if isinstance(each, WEIGHTED)
    }
    convolves = bool(last) and all(isinstance(each, WEIGHTED) and not isinstance(each, nn.Linear) for each in last)
    return 1 if convolves else -1, counts.pop() if len(counts) == 1 else None


@dataclass(frozen=True, slots=True)
class _End(Operation):
    """Has a network pass its output through a hook."""

    network: str
    op: str
    behind: Behind

    @property
    def edit(self) -> Edit:
        """The network, and what it ends in."""
        return Edit("insert", "", self.network, f"{self.network}, {self.op} of its output")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Registers the hook."""
        del optimizers
        network.register_forward_hook(self.behind)


def _is_right(step: GraphStep, op: str, layout: ForwardGraph) -> bool:
    """Whether a step is what is wanted: a softmax that is known to run over the classes, or another operation of that name."""
    if step.op.removeprefix("bounded") != op:
        return False
    return op != "softmax" or (isinstance(step.module, nn.Softmax) and step.module.dim in (-1, 1, classes(layout)[0]))


def _ends(hook: object) -> bool:
    return hook is sigmoid_behind or isinstance(hook, (SoftmaxBehind, LogSoftmaxBehind))
