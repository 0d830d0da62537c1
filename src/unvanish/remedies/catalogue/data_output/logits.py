"""The remedy logits: removes an output activation that the loss applies itself, or whose range excludes the targets."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, final

import torch
from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.graph.model_copy import model_copy, without_side_effects
from unvanish.remedies.graph.shape_probe import call_with_inputs
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.structure.output_activations import output_squashes, removal_operations


@final
class Logits(Remedy):
    """Drops the activation at the network's output, so that the loss gets the raw scores (logits).

    Does: takes away softmax, sigmoid, tanh, ReLU or softplus where nothing weighted comes after it and it gates nothing: a
        module becomes nn.Identity(), a call such as torch.sigmoid(x) in `forward` becomes its argument. log_softmax stays:
        NLLLoss needs it, and a second one changes nothing. With loss= it makes sure that the loss takes what is left.
    Helps: a softmax or sigmoid before CrossEntropyLoss or BCEWithLogitsLoss, which apply their own: the gradient is squeezed
        twice, and the loss cannot fall below a floor. A ReLU or tanh before a loss whose targets lie outside of its range.
    Harms: a loss that wants probabilities (BCELoss, NLLLoss after a softmax) gets numbers that it cannot take. Code that reads
        probabilities from the network must apply the softmax itself.
    Cost: none.
    References: Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".
    """

    name: ClassVar[str] = "logits"
    family: ClassVar[str] = "output"
    summary: ClassVar[str] = "no softmax, sigmoid or ReLU at the output, where the loss has it or the targets lie outside"
    treats: ClassVar[tuple[str, ...]] = ("output-mismatch",)
    alters_loss: ClassVar[bool] = True

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One operation an output. Raises NotApplicable where the output has no such activation, or the loss needs it."""
        graph = trace_graph(network, context.inputs)
        squashes = output_squashes(graph)
        if not squashes:
            raise NotApplicable(
                f"logits: {type(network).__name__} has no softmax, sigmoid, tanh or ReLU at its output that could be taken away"
                + ("; nothing is left to drop" if graph.is_traced else "; its forward could not be traced: pass inputs=")
            )
        operations = removal_operations(network, squashes, remedy=self.name)
        _require_fitting_loss(network, context)
        return operations


def _require_fitting_loss(network: nn.Module, context: Context) -> None:
    """Raises NotApplicable where the caller's loss cannot take the raw scores."""
    if context.loss is None or context.inputs is None:
        return
    with without_side_effects():
        outputs = call_with_inputs(model_copy(network), context.inputs)
    logits = _unbounded_outputs(outputs)
    try:
        with without_side_effects():
            value = context.loss(logits)
    except Exception as error:  # the user's loss may raise anything
        raise NotApplicable(
            f"logits: the loss does not take raw scores ({type(error).__name__}: {error}); use the loss that has the activation "
            "inside, such as BCEWithLogitsLoss for BCELoss"
        ) from error
    if not torch.isfinite(torch.as_tensor(value)).all():
        raise NotApplicable(
            "logits: the loss of raw scores is not finite: it takes their logarithm; use the loss that has the activation inside, "
            "such as CrossEntropyLoss or BCEWithLogitsLoss"
        )


def _unbounded_outputs(outputs: Any) -> Any:
    """Outputs of the same shape with values below 0 and above 1, which probabilities do not have."""
    if isinstance(outputs, torch.Tensor) and outputs.is_floating_point():
        return torch.linspace(-3.0, 3.0, max(outputs.numel(), 1)).reshape(outputs.shape).to(outputs)
    return copy.copy(outputs)
