"""The remedy lecun-init: normal weights of variance 1 / fan_in (LeCun 1998)."""

from __future__ import annotations

import functools
import math
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from unvanish.record.initial_values import Law
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.init.target_weights import layer_and_parameter_targets


def lecun_(weight: Tensor, *, fan_in: float, generator: torch.Generator) -> Tensor:
    """The same tensor, filled from N(0, 1 / fan_in): a sum of fan_in terms of variance one has variance one.

    LeCun 1998, "Efficient BackProp", eq. 16.
    """
    return weight.normal_(0.0, 1.0 / math.sqrt(fan_in), generator=generator)


@final
class LecunInit(Remedy):
    """Draws all weights anew from a normal distribution of variance 1 / fan_in, and zeroes the biases.

    Does: fills every trainable weight of Linear, Conv and ConvTranspose layers, and every parameter of your own modules that
        multiplies a signal, from N(0, 1 / fan_in), whatever the activation.
        Biases become 0. Tied weights are drawn once. Embeddings, normalisation, recurrent and attention layers stay as they
        are. Given the optimizer, its state of the redrawn parameters starts afresh.
    Helps: networks of SELU, whose length settles at 1 for this variance and no other. Linear and tanh-like units whose layers
        differ in width keep the signal's size too.
    Harms: everything learned is lost. Rectifiers lose half of the variance in every layer at this scale: use he-init. With
        sigmoid units it changes little.
    Cost: none per step; one draw per weight.
    References: LeCun et al. 1998, "Efficient BackProp"; Klambauer et al. 2017, arXiv 1706.02515.
    """

    name: ClassVar[str] = "lecun-init"
    family: ClassVar[str] = "initialisation"
    summary: ClassVar[str] = "normal weights of variance 1 / fan_in, which SELU needs, zero biases"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-gradient", "exploding-gradient", "off-critical-init", "symmetric-init")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One initialisation a weight. Raises NotApplicable where no weight may be redrawn."""
        operations: list[Operation] = []
        for target in layer_and_parameter_targets(network, trace_graph(network, context.inputs), remedy=self.name):
            fan_in, _ = target.fans
            fill = functools.partial(lecun_, fan_in=fan_in, generator=context.generator)
            std = 1.0 / math.sqrt(fan_in)
            operations.append(target.fill_operation(fill, after=f"LeCun normal, std {std:.3g}", law=Law.NORMAL, scale=std))
        return tuple(operations)
