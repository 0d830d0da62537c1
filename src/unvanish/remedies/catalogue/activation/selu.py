"""The remedy selu: self-normalising networks, SELU with the initialisation and the dropout that belong to it."""

from __future__ import annotations

import functools
import math
from typing import ClassVar, final

from torch import nn

from unvanish.record.initial_values import Law
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.catalogue.initialisation.he_init import he_
from unvanish.remedies.edits.activation_replacement import ActivationForms, replace_activations
from unvanish.remedies.edits.method_rewriting import FunctionCall
from unvanish.remedies.edits.module_edits import Replace, module_places
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.init.target_weights import layer_and_parameter_targets
from unvanish.remedies.object_identity import ancestors

SELU = ActivationForms(nn.SELU, FunctionCall("torch.nn.functional:selu"))


@final
class Selu(Remedy):
    """Makes the network self-normalising: SELU units, weights of variance 1 / fan_in, and dropout that keeps mean and variance.

    Does: puts nn.SELU() in the place of every hidden activation module but SELU, and F.selu(x) in that of calls such as
        torch.tanh(x) in `forward`; draws every trainable weight of Linear and convolution layers from N(0, 1 / fan_in) and
        zeroes the biases; puts nn.AlphaDropout in the place of nn.Dropout (calls of F.dropout stay). The output's activation,
        gates, and whatever is inside recurrent, attention and transformer layers stay. A user's hooks on a replaced module rest
        until the change is undone.
    Helps: plain deep networks of Linear layers: mean and variance of each layer's output are drawn to 0 and 1, without any
        normalisation layer.
    Harms: everything learned is lost. The fixed point holds for plain chains and standardised inputs: skips and concatenations
        break it, and inputs far from mean 0 and variance 1 start far away from it.
    Cost: one exponential a unit; nothing else.
    References: Klambauer et al. 2017, arXiv 1706.02515.
    """

    name: ClassVar[str] = "selu"
    family: ClassVar[str] = "activation"
    summary: ClassVar[str] = "SELU with LeCun initialisation and alpha dropout"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-gradient", "saturated-activation", "dead-units", "off-critical-init")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """Replacements, then initialisations. Raises NotApplicable where no hidden activation can be replaced."""
        operations = list(replace_activations(network, context, replacement=SELU, remedy=self.name, keep=(nn.SELU,)))
        places = module_places(network)
        operations += [
            Replace(path, drop, nn.AlphaDropout(drop.p), places[drop])
            for path, drop in network.named_modules()
            if type(drop) is nn.Dropout and path and not _inside_transformer(network, path)
        ]
        for target in layer_and_parameter_targets(network, trace_graph(network, context.inputs), remedy=self.name):
            fan_in, _ = target.fans
            fill = functools.partial(he_, fan_in=fan_in, gain=1.0, generator=context.generator)
            std = 1.0 / math.sqrt(fan_in)
            operations.append(target.fill_operation(fill, after=f"LeCun normal, std {std:.3g}", law=Law.NORMAL, scale=std))
        return tuple(operations)


def _inside_transformer(network: nn.Module, path: str) -> bool:
    """Whether a module is inside one of torch's transformer layers, whose dropout comes after attention and not after SELU."""
    kinds = (nn.Transformer, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.MultiheadAttention)
    return any(isinstance(module, kinds) for module in ancestors(network, path))
