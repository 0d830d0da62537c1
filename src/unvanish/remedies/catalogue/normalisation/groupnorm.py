"""The remedy groupnorm: group normalisation before hidden activations, and in place of batch normalisation."""

from __future__ import annotations

import math
from typing import ClassVar, final

from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.normalisation_insertion import insert_normalisations, require_features_second
from unvanish.remedies.graph.trace_graph import trace_graph

MAX_GROUPS = 32  # Wu and He 2018, table 3
MIN_GROUP_SIZE = 4  # a group of one feature without positions is always zero after its mean is taken; of two, always +-1


def group_count(features: int) -> int:
    """The number of groups for a number of features: at most 32 equal groups of at least four features, or one group.

    Example:
        >>> group_count(64), group_count(48), group_count(6)
        (16, 8, 1)
    """
    groups = math.gcd(MAX_GROUPS, features)
    while groups > 1 and features // groups < MIN_GROUP_SIZE:
        groups //= 2
    return groups


@final
class GroupNorm(Remedy):
    """Normalises groups of channels of each example before every hidden activation, whatever the size of the batch.

    Does: puts nn.GroupNorm between a trainable layer and the hidden activation directly behind it, and in the place of batch
        normalisation: as many equal groups as divide the channels, at most 32, of at least four. Where the activation is a call
        in `forward`, or shared, the layer becomes nn.Sequential(layer, norm): "conv.weight" is then "conv.0.weight". Left
        alone: the output, gates, places that have a normalisation, layers that run several times, frozen layers. The new
        parameters join the optimizer if it is given; otherwise build the optimizer afterwards.
    Helps: convolutional networks whose batches are too small for batch statistics, or whose running statistics lag behind;
        exploding gradients and saturation.
    Harms: slightly less accurate than batch normalisation where batches are large. It does not repair deep sigmoid networks. On
        sequences (batch, time, features) it would take time for the channels: refused, as for batchnorm.
    Cost: two parameters a channel, one more pass over each hidden layer's output per step.
    References: Wu and He 2018, arXiv 1803.08494.
    """

    name: ClassVar[str] = "groupnorm"
    family: ClassVar[str] = "normalisation"
    summary: ClassVar[str] = "group normalisation before each hidden activation, and for batch normalisation"
    treats: ClassVar[tuple[str, ...]] = (
        "batch-too-small",
        "running-stats-drift",
        "exploding-gradient",
        "saturated-activation",
        "vanishing-gradient",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One insertion a place. Raises NotApplicable where there is none, or where channels are not the second axis."""
        require_features_second(
            network, context, trace_graph(network, context.inputs), remedy=self.name, norm_name="group normalisation"
        )
        return insert_normalisations(network, context, _build, remedy=self.name)


def _build(features: int, axes: int) -> nn.Module:
    del axes
    return nn.GroupNorm(group_count(features), features)
