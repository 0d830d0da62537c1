"""The remedy he-init: normal weights of variance gain^2 / fan_in (He 2015)."""

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


def he_(weight: Tensor, *, fan_in: float, gain: float, generator: torch.Generator) -> Tensor:
    """The same tensor, filled from N(0, gain^2 / fan_in): the variance of the signal is kept from layer to layer.

    He 2015, arXiv 1502.01852, eq. 10.
    """
    return weight.normal_(0.0, gain / math.sqrt(fan_in), generator=generator)


@final
class HeInit(Remedy):
    """Draws all weights anew from a normal distribution of the scale that keeps a rectifier's signal alive, and zeroes the
    biases.

    Does: fills every trainable weight of Linear, Conv and ConvTranspose layers, and every parameter of your own modules that
        multiplies a signal, from N(0, gain^2 / fan_in). The gain is that of the activation behind the layer: sqrt(2) for ReLU,
        ELU, GELU and SiLU, sqrt(2 / (1 + slope^2)) for leaky ones, 1 for SELU and units that are linear around zero, 1 before
        another weighted layer and at the output. Biases become 0. Tied weights are drawn once. Embeddings, normalisation,
        recurrent and attention layers stay as they are. Given the optimizer, its state of the redrawn parameters starts afresh.
    Helps: a plain deep network of rectifiers before it has been trained: torch's default shrinks its signal by about sqrt(6) a
        layer. A ReLU network of 30 layers learns with it that stays at chance without.
    Harms: everything learned is lost. With sigmoid units it changes little: they lose the gradient themselves. Beyond some 50
        layers a ReLU network needs more (normalisation, skips, tailored activations).
    Cost: none per step; one draw per weight.
    References: He et al. 2015, arXiv 1502.01852; Glorot and Bengio 2010; Klambauer et al. 2017, arXiv 1706.02515.
    """

    name: ClassVar[str] = "he-init"
    family: ClassVar[str] = "initialisation"
    summary: ClassVar[str] = "normal weights at the scale that rectifiers need, zero biases"
    treats: ClassVar[tuple[str, ...]] = (
        "vanishing-gradient",
        "exploding-gradient",
        "off-critical-init",
        "symmetric-init",
        "dead-units",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One initialisation a weight. Raises NotApplicable where no weight may be redrawn."""
        graph = trace_graph(network, context.inputs)
        operations: list[Operation] = []
        for target in layer_and_parameter_targets(network, graph, remedy=self.name):
            fan_in, _ = target.fans
            gain = target.gain(graph)
            fill = functools.partial(he_, fan_in=fan_in, gain=gain, generator=context.generator)
            std = gain / math.sqrt(fan_in)
            operations.append(target.fill_operation(fill, after=f"He normal, std {std:.3g}", law=Law.NORMAL, scale=std))
        return tuple(operations)
