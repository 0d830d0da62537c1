"""The remedy sigmoid-output: a sigmoid at the network's output, for losses that expect independent probabilities."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.output_activation import OutputHook, replace_output_activation
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.layers.bounded_scores import append_sigmoid


@final
class SigmoidOutput(Remedy):
    """Ends the network in a sigmoid, so that each output is a probability of its own, and never exactly 0 or 1.

    Does: takes away what squeezes or cuts the output (softmax, tanh, ReLU), and passes what the network puts out through a sigmoid,
        whose input is held within 13.9 (in float32) while its gradient passes as it is: logarithms of p and of 1 - p are finite,
        and the cross entropy made of them has the gradient p - y everywhere. The state_dict keeps its keys.
    Helps: a loss that takes the logarithm of raw scores, or of what a ReLU leaves of them; a softmax over one output, which is
        always 1; a softmax where several answers may be right at once.
    Harms: answers outside of 0 to 1 can no longer be given. A loss that applies a sigmoid itself (BCEWithLogitsLoss) is squeezed
        twice.
    Cost: a few operations on the output per step.
    References: Goodfellow, Bengio and Courville 2016, "Deep Learning", section 6.2.2.2.
    """

    name: ClassVar[str] = "sigmoid-output"
    family: ClassVar[str] = "output"
    summary: ClassVar[str] = "a sigmoid at the output, whose logarithm is always finite"
    treats: ClassVar[tuple[str, ...]] = ("output-mismatch",)

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """The new output activation. Raises NotApplicable where the network ends in a sigmoid already, or returns logarithms."""
        return replace_output_activation(network, context, _choose_hook, op="sigmoid", remedy=self.name)


def _choose_hook(graph: ForwardGraph) -> OutputHook:
    del graph
    return append_sigmoid
