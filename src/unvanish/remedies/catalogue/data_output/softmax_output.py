"""The remedy softmax-output: a softmax at the network's output, for losses that expect probabilities of classes."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.output_activation import OutputHook, class_axis_and_count, replace_output_activation
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.layers.bounded_scores import AppendSoftmax


@final
class SoftmaxOutput(Remedy):
    """Ends the network in a softmax over the classes, so that its outputs sum to one, and none is exactly 0.

    Does: takes away what squeezes or cuts the output (sigmoid, tanh, ReLU), and passes what the network puts out through a softmax
        along the features of its last layer, with no score further than 13.9 (in float32) below the largest while the gradient
        passes as it is: every logarithm is finite, and the cross entropy made of them has the gradient p - y everywhere. The
        state_dict keeps its keys.
    Helps: a loss that takes the logarithm of raw scores, or of what a ReLU leaves of them, and expects shares of the classes: one
        that divides by their sum for instance.
    Harms: of several right answers only one can be likely. A loss that applies a softmax itself (CrossEntropyLoss) is squeezed
        twice, and NLLLoss wants the logarithm.
    Cost: a few operations on the output per step.
    References: Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".
    """

    name: ClassVar[str] = "softmax-output"
    family: ClassVar[str] = "output"
    summary: ClassVar[str] = "a softmax at the output, whose logarithms are always finite"
    treats: ClassVar[tuple[str, ...]] = ("output-mismatch",)

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """The new output activation. Raises NotApplicable where the network ends in a softmax already, or returns logarithms."""
        return replace_output_activation(network, context, self._choose_hook, op="softmax", remedy=self.name)

    def _choose_hook(self, graph: ForwardGraph) -> OutputHook:
        axis, count = class_axis_and_count(graph)
        if count == 1:
            raise NotApplicable(
                f"{self.name}: the last layer has one output, and the softmax of one is always 1; use sigmoid-output"
            )
        return AppendSoftmax(axis)
