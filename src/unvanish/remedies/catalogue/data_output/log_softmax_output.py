"""A log-softmax at the network's output, where the loss expects logarithms of probabilities. It changes no weight."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.output_exchange import Behind, classes, ended
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.layers.bounded import LogSoftmaxBehind


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
        """The end of the network. Raises NotApplicable where it ends in logarithms already, or has one output."""
        return ended(network, context, self._behind, op="log_softmax", remedy=self.name)

    def _behind(self, layout: ForwardGraph) -> Behind:
        axis, count = classes(layout)
        if count == 1:
            raise NotApplicable(f"{self.name}: the last layer has one output, whose log-softmax is always 0; use sigmoid-output")
        return LogSoftmaxBehind(axis)
