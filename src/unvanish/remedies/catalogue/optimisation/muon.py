"""The remedy muon: Muon for hidden weight matrices and AdamW for all other parameters, in place of another optimizer."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.optimizers.group_settings import find_optimizers, scale_rates
from unvanish.remedies.optimizers.muon import RATE_RATIO, MuonWithAdamW
from unvanish.remedies.optimizers.optimizer_class import (
    adamw_entries,
    change_class,
    has_rate_sized_steps,
    require_no_float16,
    require_replaceable,
)
from unvanish.remedies.structure.input_output_layers import hidden_weights

RATE = 1e-3
"""The group's learning rate where the present one is of another kind of optimizer: AdamW's default. Muon takes 20 times as much."""

MUON = {"momentum": 0.95, "nesterov": True, "ns_steps": 5, "rate_ratio": RATE_RATIO}
"""The settings of Muon in every group (Jordan 2024)."""


@final
class Muon(Remedy):
    """Trains hidden matrices by Muon, which moves a layer in all directions of its weight space alike, and the rest by AdamW.

    Does: makes the optimizer one object that steps by Muon for the weights of hidden Linear and Conv layers, and by AdamW for
        all else: the layers at the network's input and output, embeddings, biases, normalisation, recurrent layers, packed
        attention weights. Muon replaces the averaged gradient by the orthogonal matrix nearest to it. It takes 20 times the
        learning rate of the group (0.02 beside 0.001) and the same pull of weight decay, so that groups and schedulers stay as
        they are. Rates are chosen as by the remedy adamw: Adam's are kept, others become 0.001.
    Helps: networks with several hidden layers, whose gradients are dominated by few directions. On handwritten digits, with six
        tanh layers of 64 units, the loss is 0.08 after 100 steps where AdamW at the same rate has 0.58.
    Harms: weights that are no matrices, and networks with one hidden layer, gain nothing. It is a different regime: rates
        tuned for SGD mean nothing to it.
    Cost: 15 products of matrices of the layer's size per layer and step, in bfloat16: little beside a forward and backward pass
        over a large batch, much beside one over a small batch. One number per hidden weight, two for the others.
    References: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Loshchilov and
        Hutter 2019, arXiv 1711.05101.
    """

    name: ClassVar[str] = "muon"
    family: ClassVar[str] = "optimisation"
    summary: ClassVar[str] = "Muon for hidden matrices and AdamW for the rest, in the optimizer's place"
    treats: ClassVar[tuple[str, ...]] = ("learning-rate-too-low", "loss-not-decreasing", "underfitting")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One change of class an optimizer that trains a hidden matrix. Raises NotApplicable where none does, or all are Muon."""
        optimizers = find_optimizers(network, context.optimizers, remedy=self.name)
        hidden_matrices = hidden_weights(network, trace_graph(network, context.inputs))
        operations: list[Operation] = []
        has_muon = False
        for path, optimizer in optimizers.items():
            trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            matrices = [weight for weight in hidden_matrices if id(weight) in trained]
            if isinstance(optimizer, MuonWithAdamW) or type(optimizer).__name__ == "Muon":
                has_muon = True
            elif matrices:
                require_replaceable(optimizer, network, remedy=self.name)
                require_no_float16(optimizer, remedy=self.name)
                rates = None if has_rate_sized_steps(optimizer) else scale_rates(optimizer, RATE)
                entries = [{**settings, **MUON} for settings in adamw_entries(optimizer)]
                operations += change_class(path, optimizer, MuonWithAdamW, entries, rates=rates, matrices=matrices)
        if not operations:
            name = type(network).__name__
            raise NotApplicable(
                f"{self.name}: {name} is trained by Muon already; nothing is left to exchange"
                if has_muon
                else f"{self.name}: no Linear or Conv layer of {name} lies between its first and its last one, or none of those "
                "is trained by the optimizer given; use adamw"
            )
        return tuple(operations)
