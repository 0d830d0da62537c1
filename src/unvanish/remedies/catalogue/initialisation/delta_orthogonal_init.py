"""The remedy delta-orthogonal-init: convolution kernels that are zero but for an orthogonal matrix at their centre (Xiao 2018)."""

from __future__ import annotations

import functools
from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.record.initial_values import Law
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.init.orthogonal import (
    delta_orthogonal_,
    delta_orthogonal_factor,
    group_count,
    orthogonal_,
    orthogonal_factor,
    supports_delta_orthogonal,
)
from unvanish.remedies.init.target_weights import LayerTarget, gain_after, layer_targets
from unvanish.remedies.init.weight_scale import fans


@final
class DeltaOrthogonalInit(Remedy):
    """Draws convolutions anew as kernels that are zero but for an orthogonal matrix in their centre, and zeroes the biases.

    Does: every trainable weight of a convolution whose kernel has a centre (odd extents), and as many outputs as inputs or
        more, becomes zero but for its centre; that holds an orthogonal matrix times the gain of the activation behind (sqrt(2)
        for rectifiers, 1 for tanh-like units and at the output), times sqrt(outputs / inputs) where the layer widens. Linear
        layers and all other convolutions become orthogonal matrices of that gain, kernels flattened: the edits tell which.
        Biases become 0. Tied weights are drawn once. Embeddings, normalisation, recurrent and attention layers stay as they
        are. Given the optimizer, its state of the redrawn parameters starts afresh.
    Helps: deep plain convolutional networks. An ordinary random kernel blurs its input, and many in a row leave little but the
        average; this one keeps every spatial frequency.
    Harms: everything learned is lost. At the start each output sees one position only, so shallow networks learn no faster
        for it. It does not make up for what sigmoid units lose.
    Cost: none per step; one QR decomposition per weight, 0.1 s for 1024 channels.
    References: Xiao et al. 2018, arXiv 1806.05393; Saxe et al. 2014, arXiv 1312.6120.
    """

    name: ClassVar[str] = "delta-orthogonal-init"
    family: ClassVar[str] = "initialisation"
    summary: ClassVar[str] = "convolutions that start as an orthogonal matrix at the kernel's centre"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-gradient", "exploding-gradient", "off-critical-init", "symmetric-init")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One initialisation a weight. Raises NotApplicable where no convolution can have such a kernel."""
        drawn = layer_targets(network, remedy=self.name)
        if not any(supports_delta_orthogonal(target.layer) for target in drawn):
            raise NotApplicable(f"delta-orthogonal-init: {_explain_refusal(network, drawn)}; use orthogonal-init")
        graph = trace_graph(network, context.inputs)
        return tuple(_initialise(target, gain_after(target.layer, graph), context) for target in drawn)


def _initialise(target: LayerTarget, gain: float, context: Context) -> Operation:
    groups = group_count(target.layer)
    if supports_delta_orthogonal(target.layer):
        fill = functools.partial(delta_orthogonal_, gain=gain, generator=context.generator, groups=groups)
        factor = delta_orthogonal_factor(target.weight.shape, gain=gain, groups=groups)
        return target.fill_operation(fill, after=f"delta-orthogonal, gain {gain:.3g}", law=Law.DELTA_ORTHOGONAL, scale=factor)
    fan_in, _ = fans(target.layer)
    fill = functools.partial(orthogonal_, fan_in=fan_in, gain=gain, generator=context.generator, groups=groups)
    note = "" if isinstance(target.layer, nn.Linear) else f" (no delta kernel: {_explain_no_delta(target)})"
    factor = orthogonal_factor(*target.rows_and_columns, fan_in=fan_in, gain=gain)
    return target.fill_operation(fill, after=f"orthogonal, gain {gain:.3g}{note}", law=Law.ORTHOGONAL, scale=factor)


def _explain_no_delta(target: LayerTarget) -> str:
    layer = target.layer
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return "fewer outputs than inputs" if layer.out_channels < layer.in_channels else "an even kernel has no centre"
    return "transposed"


def _explain_refusal(network: nn.Module, drawn: tuple[LayerTarget, ...]) -> str:
    name = type(network).__name__
    convolutions = [target for target in drawn if not isinstance(target.layer, nn.Linear)]
    if not convolutions:
        return f"{name} has no trainable convolution of its own"
    obstacles = ", ".join(f"{target.path!r}: {_explain_no_delta(target)}" for target in convolutions[:3])
    more = f", and {len(convolutions) - 3} more" if len(convolutions) > 3 else ""
    return f"no convolution of {name} can hold an orthogonal matrix in its centre ({obstacles}{more})"
