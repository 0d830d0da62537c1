"""The remedy rmsnorm: root-mean-square normalisation before hidden activations, and in place of batch normalisation."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.normalisation_insertion import insert_normalisations
from unvanish.remedies.layers.channel_norm import ChannelRMSNorm


@final
class RmsNorm(Remedy):
    """Divides the features of each example by their root mean square before every hidden activation; their mean stays.

    Does: puts nn.RMSNorm between a trainable Linear layer and the hidden activation directly behind it, and in the place of
        batch normalisation. For convolutions the root mean square is over the channels, at each position. Where the activation
        is a call in `forward`, or shared, the layer becomes nn.Sequential(layer, norm): "fc.weight" is then "fc.0.weight". Left
        alone: the output, gates, places that have a normalisation, layers that run several times, frozen layers. The new
        parameters join the optimizer if it is given; otherwise build the optimizer afterwards.
    Helps: exploding gradients and saturation, for any size of batch, at a lower cost than layernorm.
    Harms: a mean far from zero stays and can keep units saturated or dead. It does not repair deep sigmoid networks.
    Cost: one parameter a feature, one more pass over each hidden layer's output per step.
    References: Zhang and Sennrich 2019, arXiv 1910.07467.
    """

    name: ClassVar[str] = "rmsnorm"
    family: ClassVar[str] = "normalisation"
    summary: ClassVar[str] = "RMS normalisation before each hidden activation, and for batch normalisation"
    treats: ClassVar[tuple[str, ...]] = (
        "exploding-gradient",
        "saturated-activation",
        "batch-too-small",
        "running-stats-drift",
        "vanishing-gradient",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One insertion a place. Raises NotApplicable where there is none."""
        return insert_normalisations(network, context, _build, remedy=self.name)


def _build(features: int, axes: int) -> nn.Module:
    return nn.RMSNorm(features) if axes == 2 else ChannelRMSNorm(features)
