"""Selects the weights that an initialisation fills, with the gain of what follows each.

Selected are the trainable weights and biases of Linear, Conv and ConvTranspose layers, each parameter once however many layers
share it; and, for remedies that ask for them, parameters of the user's own modules that their `forward` only multiplies with a
signal. Left out are embeddings (and weights tied to one), normalisation, recurrent and attention layers, frozen parameters, and
weights that torch computes from others (weight_norm, spectral_norm), which cannot be set in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.network.module_kinds import WEIGHTED, WeightedLayer
from unvanish.record.initial_values import InitialValues, Law
from unvanish.remedies.base import Operation
from unvanish.remedies.edits.module_edits import Fill, Initialise
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph
from unvanish.remedies.graph.parameter_products import AXIS_SWAPS, ParameterFactor
from unvanish.remedies.graph.signal_kinds import FUSED, Kind
from unvanish.remedies.init.orthogonal import group_count
from unvanish.remedies.init.values_as_data import parameter_path, zeros
from unvanish.remedies.init.weight_scale import LINEAR_GAIN, RECTIFIER_GAIN, activation_gain, fans


@dataclass(frozen=True, slots=True)
class LayerTarget:
    """A layer's weight to be filled: the first layer that owns it, and the trainable bias of that layer."""

    path: str
    layer: WeightedLayer
    weight: nn.Parameter
    bias: nn.Parameter | None

    @property
    def fans(self) -> tuple[float, float]:
        """(fan_in, fan_out)."""
        return fans(self.layer)

    @property
    def groups(self) -> int:
        """The number of groups of channels."""
        return group_count(self.layer)

    @property
    def rows_and_columns(self) -> tuple[int, int]:
        """The shape of each group's matrix, with one row an output."""
        return self.weight.shape[0] // self.groups, self.weight[0].numel()

    def gain(self, graph: ForwardGraph) -> float:
        """The gain of the activation after the layer."""
        return gain_after(self.layer, graph)

    def values(self, law: Law, scale: float) -> InitialValues:
        """The new values of the weight as data."""
        return InitialValues(parameter_path(self.path, "weight"), tuple(self.weight.shape), law, scale, self.groups)

    def fill_operation(self, fill: Fill, *, after: str, law: Law, scale: float) -> Operation:
        """The operation that fills the weight with `fill` and the bias with zeros.

        `after` describes it in the edit; `law` and `scale` say the same as data.
        """
        fills = [(self.weight, fill), *([(self.bias, Tensor.zero_)] if self.bias is not None else [])]
        values = [self.values(law, scale)]
        if self.bias is not None:
            values.append(zeros(parameter_path(self.path, "bias"), self.bias))
        description = after if self.bias is None else f"{after}; bias 0"
        return Initialise(self.path, repr(self.layer), description, tuple(fills), tuple(values))


@dataclass(frozen=True, slots=True)
class ParameterTarget:
    """A parameter of the user's own module that multiplies a signal.

    Arguments:
        path: path of the module that owns it.
        name: name of the parameter in that module.
        factor: which of its axes are inputs, and which are outputs.
        position: position of the product in the forward graph.
        weight: the parameter.
        bias: the trainable bias that is added to the product, with its path; None where there is none.
    """

    path: str
    name: str
    factor: ParameterFactor
    position: int
    weight: nn.Parameter
    bias: tuple[str, nn.Parameter] | None
    groups: ClassVar[int] = 1

    @property
    def fans(self) -> tuple[float, float]:
        """(fan_in, fan_out). The extents of a kernel count in both."""
        shape = self.weight.shape
        input_count, output_count = (math.prod(shape[axis] for axis in axes) for axes in (self.factor.inputs, self.factor.outputs))
        taps = math.prod(shape[axis] for axis in self.factor.inputs[1:])
        return float(input_count), float(output_count * taps)

    def gain(self, graph: ForwardGraph) -> float:
        """The gain of the activation after the product."""
        return _gain_at(self.position, graph)

    @property
    def rows_and_columns(self) -> tuple[int, int]:
        """The shape of the parameter as a matrix with one row an output."""
        rows = math.prod(self.weight.shape[axis] for axis in self.factor.outputs)
        return rows, self.weight.numel() // rows

    def fill_operation(self, fill: Fill, *, after: str, law: Law, scale: float) -> Operation:
        """The operation that fills the weight with `fill`, outputs as rows, and the bias with zeros.

        `after` describes it; `law` and `scale` say the same as data, as far as the order of the axes does not matter to it.
        """
        order = (*self.factor.outputs, *self.factor.inputs)
        rows, _ = self.rows_and_columns

        def fill_transposed(weight: Tensor) -> None:
            outputs_first = weight.permute(order)
            matrix = torch.empty(rows, outputs_first.numel() // rows, dtype=weight.dtype)
            fill(matrix)
            outputs_first.copy_(matrix.view(outputs_first.shape))

        before = f"{self.name}: {' x '.join(map(str, self.weight.shape))} parameter"
        fills: list[tuple[nn.Parameter, Fill]] = [(self.weight, fill_transposed)]
        values = [InitialValues(parameter_path(self.path, self.name), tuple(self.weight.shape), law, scale)]
        if self.bias is not None:
            path, bias = self.bias
            fills.append((bias, Tensor.zero_))
            values.append(zeros(path, bias))
        # The transpose of a random orthogonal matrix is one too; of more axes that holds only as they are.
        is_told = law in (Law.NORMAL, Law.UNIFORM) or self.weight.dim() == 2 or order == tuple(range(self.weight.dim()))
        description = after if self.bias is None else f"{after}; bias 0"
        return Initialise(self.path, before, description, tuple(fills), tuple(values) if is_told else ())


def layer_and_parameter_targets(
    network: nn.Module, graph: ForwardGraph, *, remedy: str
) -> tuple[LayerTarget | ParameterTarget, ...]:
    """The weights of layers, and parameters of the user's own modules that multiply a signal.

    Raises NotApplicable, in the name of `remedy`, where there are none.
    """
    parameter_targets = tuple(_parameter_targets(network, graph))
    try:
        return (*layer_targets(network, remedy=remedy), *parameter_targets)
    except NotApplicable:
        if not parameter_targets:
            raise
        return parameter_targets


def _parameter_targets(network: nn.Module, graph: ForwardGraph) -> Iterator[ParameterTarget]:
    """The parameters that are used only to multiply signals; of several products, the first counts."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    claimed = {id(p) for module in network.modules() if isinstance(module, WEIGHTED) for p in module.parameters(recurse=False)}
    used_otherwise = {
        step.path
        for position, step in enumerate(graph.steps)
        if step.op == PARAMETER and not _only_multiplies(position, graph, step.path)
    }
    for position, step in enumerate(graph.steps):
        factor = step.parameter_factor
        if factor is None or factor.path in used_otherwise:
            continue
        path, _, name = factor.path.rpartition(".")
        weight = parameters[factor.path]
        if id(weight) in claimed or not weight.requires_grad or not weight.is_floating_point():
            continue
        claimed.add(id(weight))
        bias = _bias_of_product(position, factor, parameters, graph)
        yield ParameterTarget(path, name, factor, position, weight, bias)


def _only_multiplies(position: int, graph: ForwardGraph, path: str) -> bool:
    """Whether a parameter is used only in products, directly or transposed."""
    consumers = [(consumer, graph.steps[consumer]) for consumer in graph.consumers[position]]
    return all(
        (step.parameter_factor is not None and step.parameter_factor.path == path)
        or (step.op in AXIS_SWAPS and _only_multiplies(consumer, graph, path))
        for consumer, step in consumers
    )


def _bias_of_product(
    position: int, factor: ParameterFactor, parameters: Mapping[str, nn.Parameter], graph: ForwardGraph
) -> tuple[str, nn.Parameter] | None:
    """The path and the trainable parameter, of one number an output, that is the bias of a product or of the next sum."""
    outputs = math.prod(parameters[factor.path].shape[axis] for axis in factor.outputs)
    for reader in (position, *_following_sums(position, graph)):
        parameter_paths = [
            graph.steps[source].path for source in graph.steps[reader].sources if graph.steps[source].op == PARAMETER
        ]
        for path in (path for path in parameter_paths if path != factor.path and path in parameters):
            bias = parameters[path]
            if bias.requires_grad and bias.numel() == outputs:
                return path, bias
    return None


def _following_sums(position: int, graph: ForwardGraph) -> Iterator[int]:
    """The sums that take a result directly or reshaped."""
    for consumer in graph.consumers[position]:
        step = graph.steps[consumer]
        if step.op in ("add", "iadd"):
            yield consumer
        elif step.op in AXIS_SWAPS or step.kind is Kind.RESHAPE:
            yield from _following_sums(consumer, graph)


def layer_targets(network: nn.Module, *, remedy: str) -> tuple[LayerTarget, ...]:
    """The weights of layers, in order of registration. Raises NotApplicable, in the name of `remedy`, where there are none."""
    other_owners = {
        id(p) for module in network.modules() if not isinstance(module, WEIGHTED) for p in module.parameters(recurse=False)
    }
    fused_ids = {id(inner) for module in network.modules() if isinstance(module, FUSED) for inner in module.modules()}
    targets: list[LayerTarget] = []
    claimed: set[int] = set(other_owners)
    layers = [(path, m) for path, m in network.named_modules() if isinstance(m, WEIGHTED) and id(m) not in fused_ids]
    for path, layer in layers:
        parameters = dict(layer.named_parameters(recurse=False))
        weight, bias = parameters.get("weight"), parameters.get("bias")
        if weight is None or not weight.requires_grad or id(weight) in claimed:
            continue
        claimed.add(id(weight))
        targets.append(LayerTarget(path, layer, weight, bias if bias is not None and bias.requires_grad else None))
    if not targets:
        reason = (
            "its weights are frozen, computed from other parameters (weight_norm, spectral_norm), or tied to an embedding; "
            "unfreeze one, or apply the remedy before such a wrapper"
            if layers
            else "it has no Linear or convolution layer of its own; give the part of the model that has"
        )
        raise NotApplicable(f"{remedy}: no weight of {type(network).__name__} can be initialised: {reason}")
    return tuple(targets)


def gain_after(layer: nn.Module, graph: ForwardGraph) -> float:
    """The gain of the activation after a layer; 1 before another weighted layer and at the network's output.

    Where the graph cannot tell (an activation called in a `forward` that could not be traced), that of the network's activations
    where all have the same gain; else that of a rectifier.
    """
    positions = graph.positions(layer)
    return _gain_at(positions[0] if positions else None, graph)


def _gain_at(position: int | None, graph: ForwardGraph) -> float:
    if position is not None:
        next_step = graph.next_activation_or_layer(position)
        if next_step is not None:
            return activation_gain(next_step.op, next_step.module) if next_step.kind is Kind.ACTIVATION else LINEAR_GAIN
        if graph.is_traced or not graph.hidden[position]:
            return LINEAR_GAIN
    gains = {activation_gain(step.op, step.module) for _, step in graph.activations()}
    return gains.pop() if len(gains) == 1 else RECTIFIER_GAIN
