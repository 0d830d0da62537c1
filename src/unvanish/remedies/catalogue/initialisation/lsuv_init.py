"""The remedy lsuv-init: layer-sequential unit-variance initialisation on a real batch (Mishkin 2016)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.record.initial_values import Law
from unvanish.record.network_changes import Edit
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.graph.model_copy import model_copy, without_side_effects
from unvanish.remedies.graph.shape_probe import call_with_inputs, inputs_error, probe_shapes
from unvanish.remedies.init.orthogonal import group_count, orthogonal_, orthogonal_factor
from unvanish.remedies.init.target_weights import LayerTarget, layer_targets
from unvanish.remedies.init.weight_scale import fans

MAX_RESCALINGS = 11
TOLERANCE = 0.1
"""How often a layer is rescaled at most, and how far from 1 its output's standard deviation may stay (Mishkin 2016)."""

# In evaluation mode they would normalise by running statistics, which a new network has not gathered yet.
_USES_BATCH_STATISTICS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def unit_variance_(weight: Tensor, bias: Tensor | None, *, output: Callable[[], Tensor]) -> Tensor:
    """The output of a layer once its weight and bias give it the standard deviation 1 and the mean 0 over all of its values.

    `output` runs the layer. Up to TRIES times while |std - 1| > TOLERANCE: W /= std, b -= mean / std (Mishkin 2016, arXiv
    1511.06422). An output that does not vary, or is not finite, is left.
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    scale, shift = 1.0, 0.0
    first_weight, first_bias = weight.to(dtype, copy=True), None if bias is None else bias.to(dtype, copy=True)
    for _ in range(MAX_RESCALINGS):
        values = output().detach().double()
        std, mean = float(values.std(correction=0)), float(values.mean())
        if not (math.isfinite(std) and std > 0.0) or abs(std - 1.0) <= TOLERANCE:
            break
        scale, shift = scale / std, shift - mean / std
        weight.copy_(first_weight * scale)
        if bias is not None and first_bias is not None:
            bias.copy_(first_bias + shift)
    return output()


@dataclass(frozen=True, slots=True)
class UnitVariance(Operation):
    """Scales the weights of some layers, in the order in which they run, so that each layer's output has unit variance.

    A copy of the network runs on the batch `inputs`; the network gets the values.
    """

    targets: tuple[LayerTarget, ...]
    inputs: Any

    @property
    def edit(self) -> Edit:
        """One edit for all layers, which are scaled one after the other."""
        layers = f"{len(self.targets)} layer" + ("" if len(self.targets) == 1 else "s")
        return Edit("initialise", "", "orthonormal weights", f"scaled in order: outputs of {layers} at std 1 on the batch")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Runs the batch once through a copy whose layers are scaled as they are reached, and copies their parameters."""
        del optimizers  # whose state of these parameters was dropped when they were drawn
        try:
            with without_side_effects():
                network_copy = model_copy(network)
                scaled = [(target, _WeightAndBias.of(network_copy.get_submodule(target.path), target)) for target in self.targets]
                for module in network_copy.modules():
                    if isinstance(module, _USES_BATCH_STATISTICS):
                        module.train()
                for _, pair in scaled:
                    pair.layer.register_forward_hook(_ScaleOnce(pair), with_kwargs=True)
                call_with_inputs(network_copy, self.inputs)
        except Exception as error:  # the user's forward may raise anything
            raise inputs_error(network, error) from error
        with torch.no_grad():
            for target, pair in scaled:
                target.weight.copy_(pair.weight)
                if target.bias is not None and pair.bias is not None:
                    target.bias.copy_(pair.bias)


@final
class LsuvInit(Remedy):
    """Draws all weights anew, orthonormal, and scales each so that its layer's output on a real batch has unit variance.

    Does: fills every trainable weight of Linear, Conv and ConvTranspose layers with a random semi-orthogonal matrix; then runs the
        batch through a copy of the network, layer by layer in order of execution, and up to 11 times while a layer's output
        has a standard deviation more than 0.1 from 1, divides the weight by it and moves the bias so that the mean becomes 0.
        BatchNorm uses the batch's statistics in that run, as in training; dropout is off, whatever mode the network is in.
        A layer that runs several times is scaled where it runs first. Tied weights are drawn once. Embeddings, normalisation,
        recurrent and attention layers stay as they are. Given the optimizer, its state of the redrawn parameters starts afresh.
    Helps: networks for which no formula gives the scale: unusual activations, sums of branches, inputs of unknown size.
    Harms: everything learned is lost. It looks at the signal alone, so it does not repair deep networks of sigmoid units, whose
        gradient dies at any scale; a GELU network of 50 layers stayed at chance. A batch that is not typical misleads it.
    Cost: none per step; two passes of one batch through a copy of the network, and a QR decomposition per weight.
    References: Mishkin and Matas 2016, arXiv 1511.06422.
    """

    name: ClassVar[str] = "lsuv-init"
    family: ClassVar[str] = "initialisation"
    summary: ClassVar[str] = "orthonormal weights, scaled to unit variance of every layer's output on a real batch"
    treats: ClassVar[tuple[str, ...]] = (
        "vanishing-gradient",
        "exploding-gradient",
        "off-critical-init",
        "symmetric-init",
        "saturated-activation",
        "dead-units",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One initialisation a weight, and one scaling of them all.

        Raises NotApplicable without inputs, and UsageError for wrong ones.
        """
        if context.inputs is None:
            raise NotApplicable("lsuv-init: it needs a batch to measure what layers put out; pass inputs=, or use orthogonal-init")
        drawn = layer_targets(network, remedy=self.name)
        probe_shapes(network, context.inputs)
        return (*(_initialise(target, context.generator) for target in drawn), UnitVariance(drawn, context.inputs))


def _initialise(target: LayerTarget, generator: torch.Generator) -> Operation:
    fan_in, _ = fans(target.layer)
    fill = functools.partial(orthogonal_, fan_in=fan_in, gain=1.0, generator=generator, groups=group_count(target.layer))
    factor = orthogonal_factor(*target.rows_and_columns, fan_in=fan_in, gain=1.0)
    after = "orthonormal, then scaled to unit variance of its output"
    return target.fill_operation(fill, after=after, law=Law.ORTHOGONAL, scale=factor)


@dataclass(frozen=True, slots=True)
class _WeightAndBias:
    """A layer of the copy, with its weight, and its bias where that may be altered."""

    layer: nn.Module
    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, layer: nn.Module, target: LayerTarget) -> _WeightAndBias:
        parameters = dict(layer.named_parameters(recurse=False))
        return cls(layer, parameters["weight"], parameters["bias"] if target.bias is not None else None)


class _ScaleOnce:
    """A forward hook that scales a layer when it first runs, and returns the output of the scaled layer."""

    def __init__(self, pair: _WeightAndBias) -> None:
        self._pair = pair
        self._done = False

    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Tensor | None:
        del output
        if self._done:
            return None
        self._done = True
        return unit_variance_(self._pair.weight, self._pair.bias, output=lambda: module.forward(*args, **kwargs))
