"""The remedy layernorm: layer normalisation before hidden activations, and in place of batch normalisation."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.normalisation_insertion import insert_normalisations


@final
class LayerNorm(Remedy):
    """Normalises the features of each example before every hidden activation, whatever the size of the batch.

    Does: puts nn.LayerNorm between a trainable Linear layer and the hidden activation directly behind it, and in the place of
        batch normalisation. For convolutions it takes the mean over channels and positions, as nn.GroupNorm with one group
        does. Where the activation is a call in `forward`, or shared, the layer becomes nn.Sequential(layer, norm): "fc.weight"
        is then "fc.0.weight". Left alone: the output, gates, places that have a normalisation, layers that run several times,
        frozen layers. The new parameters join the optimizer if it is given; otherwise build the optimizer afterwards.
    Helps: exploding gradients and saturation where batch statistics are no good: small batches, sequences, online learning.
        Training and evaluation do the same.
    Harms: it does not repair deep sigmoid networks: at 50 layers they stay at chance, since the slope of the sigmoid remains.
        It takes away what the mean and the size of a layer's output say.
    Cost: two parameters a feature, one more pass over each hidden layer's output per step.
    References: Ba, Kiros and Hinton 2016, arXiv 1607.06450.
    """

    name: ClassVar[str] = "layernorm"
    family: ClassVar[str] = "normalisation"
    summary: ClassVar[str] = "layer normalisation before each hidden activation, and for batch normalisation"
    treats: ClassVar[tuple[str, ...]] = (
        "exploding-gradient",
        "saturated-activation",
        "vanishing-gradient",
        "batch-too-small",
        "running-stats-drift",
        "representation-collapse",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One insertion a place. Raises NotApplicable where there is none."""
        return insert_normalisations(network, context, _build, remedy=self.name)


def _build(features: int, axes: int) -> nn.Module:
    return nn.LayerNorm(features) if axes == 2 else nn.GroupNorm(1, features)
