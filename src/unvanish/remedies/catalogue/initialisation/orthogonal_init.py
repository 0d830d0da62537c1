"""The remedy orthogonal-init: orthogonal weights times the gain of the activation, in recurrent layers too (Saxe 2014)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.record.initial_values import InitialValues, Law
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.catalogue.initialisation.glorot_init import glorot_
from unvanish.remedies.edits.module_edits import Fill, Initialise
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.init.orthogonal import orthogonal_, orthogonal_factor, semi_orthogonal
from unvanish.remedies.init.target_weights import layer_and_parameter_targets
from unvanish.remedies.init.values_as_data import parameter_path

RecurrentModule = nn.RNNBase | nn.RNNCellBase

_RECURRENT_WEIGHT = re.compile(r"weight_(ih|hh|hr)(_l\d+(_reverse)?)?")


def orthogonal_gates_(weight: Tensor, *, gates: int, generator: torch.Generator) -> Tensor:
    """The same tensor, filled with one semi-orthogonal block a gate, (gates * hidden, inputs). Saxe 2014, arXiv 1312.6120."""
    for block in weight.chunk(gates):
        block.copy_(semi_orthogonal(*block.shape, generator=generator))
    return weight


def glorot_gates_(weight: Tensor, *, gates: int, generator: torch.Generator) -> Tensor:
    """The same tensor, (gates * hidden, inputs), one Glorot uniform block a gate, each with its own fans."""
    for block in weight.chunk(gates):
        glorot_(block, fan_in=block.shape[1], fan_out=block.shape[0], generator=generator)
    return weight


@final
class OrthogonalInit(Remedy):
    """Draws all weights anew as orthogonal matrices, those of recurrent layers too, and zeroes the biases of the others.

    Does: every trainable weight of Linear, Conv and ConvTranspose layers, and every parameter of your own modules that multiplies a
        signal, becomes a random semi-orthogonal matrix, kernels flattened and groups apart, times the gain of the activation behind
        (sqrt(2) for rectifiers, 1 for tanh-like units and at the output), times sqrt(outputs / inputs) where a layer widens: the
        mean square of the signal and the norm of the gradient are kept. Biases become 0. In RNN, LSTM and GRU layers and cells
        every gate's hidden-to-hidden block becomes orthogonal and its input block Glorot uniform; their biases stay, for forget
        gates are a matter of their own. Tied weights are drawn once. Embeddings, normalisation and attention layers stay as they
        are. Given the optimizer, its state of the redrawn parameters starts afresh.
    Helps: deep plain networks: no direction of the signal dies out, as some do in a product of Gaussian matrices. Recurrent
        networks over long sequences: torch's default shrinks the state in every step.
    Harms: everything learned is lost. It does not make up for what sigmoid units lose. A plain ReLU network of 100 layers and
        more forgets its inputs nevertheless: tailor its activation. A linear or ReLU recurrence may explode in time.
    Cost: none per step; one QR decomposition per weight, 0.1 s for 1024 x 1024.
    References: Saxe et al. 2014, arXiv 1312.6120; Martens et al. 2021, arXiv 2110.01765; Glorot and Bengio 2010.
    """

    name: ClassVar[str] = "orthogonal-init"
    family: ClassVar[str] = "initialisation"
    summary: ClassVar[str] = "orthogonal weights at the scale of the activation, also inside recurrent layers"
    treats: ClassVar[tuple[str, ...]] = (
        "vanishing-gradient",
        "exploding-gradient",
        "vanishing-through-time",
        "exploding-through-time",
        "off-critical-init",
        "symmetric-init",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One initialisation a weight, and one a recurrent layer. Raises NotApplicable where no weight may be redrawn."""
        recurrent = tuple(_recurrent_operations(network, context.generator))
        graph = trace_graph(network, context.inputs)
        try:
            drawn = layer_and_parameter_targets(network, graph, remedy=self.name)
        except NotApplicable:
            if not recurrent:
                raise
            return recurrent
        operations: list[Operation] = []
        for target in drawn:
            fan_in, _ = target.fans
            gain = target.gain(graph)
            fill = functools.partial(orthogonal_, fan_in=fan_in, gain=gain, generator=context.generator, groups=target.groups)
            factor = orthogonal_factor(*target.rows_and_columns, fan_in=fan_in, gain=gain)
            operations.append(target.fill_operation(fill, after=f"orthogonal, gain {gain:.3g}", law=Law.ORTHOGONAL, scale=factor))
        return (*operations, *recurrent)


def _recurrent_operations(network: nn.Module, generator: torch.Generator) -> Iterator[Operation]:
    done: set[int] = set()
    for path, module in network.named_modules():
        if not isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            continue
        drawn = [each for each in _fills(path, module, generator) if id(each[0]) not in done]
        done.update(id(parameter) for parameter, _, _ in drawn)
        if drawn:
            after = "hidden-to-hidden weights orthogonal for each gate, input weights Glorot uniform"
            fills = tuple((parameter, fill) for parameter, fill, _ in drawn)
            yield Initialise(path, repr(module), after, fills, tuple(values for _, _, values in drawn))


def _fills(path: str, module: RecurrentModule, generator: torch.Generator) -> Iterator[tuple[nn.Parameter, Fill, InitialValues]]:
    """The module's own trainable weights with their new values; weights that torch computes (weight_norm) have other names."""
    for name, parameter in module.named_parameters(recurse=False):
        match = _RECURRENT_WEIGHT.fullmatch(name)
        if match is None or not parameter.requires_grad:
            continue
        gates = 1 if match[1] == "hr" else parameter.shape[0] // int(module.hidden_size)
        fill, law = (glorot_gates_, Law.GLOROT) if match[1] == "ih" else (orthogonal_gates_, Law.ORTHOGONAL)
        values = InitialValues(parameter_path(path, name), tuple(parameter.shape), law, 1.0, gates)
        yield parameter, functools.partial(fill, gates=gates, generator=generator), values
