"""The remedy log-softmax-output: a log-softmax at the network's output, for losses that expect log-probabilities."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.output_activation import OutputHook, class_axis_and_count, replace_output_activation
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.layers.bounded_scores import AppendLogSoftmax


@final
class LogSoftmaxOutput(Remedy):
    """Ends the network in a log-softmax over the classes: the logarithms of probabilities that sum to one.

    Does: takes away what squeezes or cuts the output (softmax, sigmoid, tanh, ReLU), and passes what the network puts out through a
        log-softmax along the features of its last layer. The state_dict keeps its keys.
    Helps: NLLLoss, which expects such logarithms, on raw scores or on probabilities: on scores it falls without end, and on
        probabilities its gradient is nearly flat where the network is wrong.
    Harms: code that reads probabilities from the network must take the exponential; a loss that takes logarithms itself gets
        negative numbers.
    Cost: one log-softmax of the output per step.
    References: PyTorch documentation, "NLLLoss"; Bridle 1990, "Probabilistic interpretation of feedforward classification network
        outputs".
    """

    name: ClassVar[str] = "log-softmax-output"
    family: ClassVar[str] = "output"
    summary: ClassVar[str] = "a log-softmax at the output, as NLLLoss expects it"
    treats: ClassVar[tuple[str, ...]] = ("output-mismatch",)
    alters_loss: ClassVar[bool] = True

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """The new output activation. Raises NotApplicable where the network returns logarithms already, or has one output."""
        return replace_output_activation(network, context, self._choose_hook, op="log_softmax", remedy=self.name)

    def _choose_hook(self, graph: ForwardGraph) -> OutputHook:
        axis, count = class_axis_and_count(graph)
        if count == 1:
            raise NotApplicable(f"{self.name}: the last layer has one output, whose log-softmax is always 0; use sigmoid-output")
        return AppendLogSoftmax(axis)
