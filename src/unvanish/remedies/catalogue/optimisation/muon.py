"""Muon for the hidden matrices, AdamW for all else. It changes no parameter and no gradient."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.optimizers.kind import adamw_entries, exchanged, is_relative, require_exchangeable, require_wide
from unvanish.remedies.optimizers.muon import RATE_RATIO, MuonWithAdamW
from unvanish.remedies.optimizers.settings import proportional, trained_by
from unvanish.remedies.structure.outer_layers import hidden_weights

RATE = 1e-3
"""Of the group, where the present rate is of another kind: AdamW's default. Muon's part takes 20 times as much."""

MUON = {"momentum": 0.95, "nesterov": True, "ns_steps": 5, "rate_ratio": RATE_RATIO}
"""Jordan 2024."""


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
        """One exchange an optimizer that trains a hidden matrix. Raises NotApplicable where none does, or all are Muon."""
        owners = trained_by(network, context.optimizers, remedy=self.name)
        hidden = hidden_weights(network, trace_graph(network, context.inputs))
        operations: list[Operation] = []
        done = False
        for path, optimizer in owners.items():
            owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            matrices = [weight for weight in hidden if id(weight) in owned]
            if isinstance(optimizer, MuonWithAdamW) or type(optimizer).__name__ == "Muon":
                done = True
            elif matrices:
                require_exchangeable(optimizer, network, remedy=self.name)
                require_wide(optimizer, remedy=self.name)
                rates = None if is_relative(optimizer) else proportional(optimizer, RATE)
                entries = [{**each, **MUON} for each in adamw_entries(optimizer)]
                operations += exchanged(path, optimizer, MuonWithAdamW, entries, rates=rates, matrices=matrices)
        if not operations:
            name = type(network).__name__
            raise NotApplicable(
                f"{self.name}: {name} is trained by Muon already; nothing is left to exchange"
                if done
                else f"{self.name}: no Linear or Conv layer of {name} lies between its first and its last one, or none of those "
                "is trained by the optimizer given; use adamw"
            )
        return tuple(operations)
