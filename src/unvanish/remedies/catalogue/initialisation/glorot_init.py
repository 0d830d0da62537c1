"""The remedy glorot-init: uniform weights of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""

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


def glorot_(weight: Tensor, *, fan_in: float, fan_out: float, generator: torch.Generator) -> Tensor:
    """The same tensor, filled from U(-b, b) with b = sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010, eq. 16."""
    bound = math.sqrt(6.0 / (fan_in + fan_out))
    return weight.uniform_(-bound, bound, generator=generator)


@final
class GlorotInit(Remedy):
    """Draws all weights anew from a uniform distribution that balances the signal forward and the gradient backward.

    Does: fills every trainable weight of Linear, Conv and ConvTranspose layers, and every parameter of your own modules that
        multiplies a signal, from U(-b, b), b = sqrt(6 / (fan_in + fan_out)).
        Biases become 0. The gain is 1 for every activation, tanh too, as in the paper: around zero tanh is linear with slope 1.
        (Torch's 5/3 makes up for its saturation instead, and lets the gradient of a deep network explode.) Tied weights are
        drawn once. Embeddings, normalisation, recurrent and attention layers stay as they are. Given the optimizer, its state
        of the redrawn parameters starts afresh.
    Helps: a plain deep network of tanh, softsign or other units that are linear around zero, before it has been trained: tanh
        networks of 30 and 50 layers learn with it that stay near chance at torch's default.
    Harms: everything learned is lost. Rectifiers lose half of the variance in every layer at this scale: use he-init. With
        sigmoid units it changes little.
    Cost: none per step; one draw per weight.
    References: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", AISTATS.
    """

    name: ClassVar[str] = "glorot-init"
    family: ClassVar[str] = "initialisation"
    summary: ClassVar[str] = "uniform weights at the scale that tanh-like units need, zero biases"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-gradient", "exploding-gradient", "off-critical-init", "symmetric-init")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One initialisation a weight. Raises NotApplicable where no weight may be redrawn."""
        operations: list[Operation] = []
        for target in layer_and_parameter_targets(network, trace_graph(network, context.inputs), remedy=self.name):
            fan_in, fan_out = target.fans
            fill = functools.partial(glorot_, fan_in=fan_in, fan_out=fan_out, generator=context.generator)
            bound = math.sqrt(6.0 / (fan_in + fan_out))
            operations.append(target.fill_operation(fill, after=f"Glorot uniform, ±{bound:.3g}", law=Law.UNIFORM, scale=bound))
        return tuple(operations)
