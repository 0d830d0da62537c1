"""The remedy online-norm: normalisation by running statistics before hidden activations, for small batches (Chiley 2019)."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.normalisation_insertion import insert_normalisations
from unvanish.remedies.layers.online_norm import OnlineNorm


@final
class OnlineNormalisation(Remedy):
    """Normalises every feature by running statistics, one example after the other: batch normalisation that needs no batch.

    Does: puts OnlineNorm between a trainable layer and the hidden activation directly behind it, and in the place of batch
        normalisation. Its backward pass steers the gradient so that it stays orthogonal to the normalised signal over time, as
        the exact gradient is. Where the activation is a call in `forward`, or shared, the layer becomes nn.Sequential(layer,
        norm): "fc.weight" is then "fc.0.weight". Left alone: the output, gates, places that have a normalisation, layers that
        run several times, frozen layers. The new parameters join the optimizer if it is given; otherwise build it afterwards.
    Helps: training with batches of one or two, where batch statistics are noise or do not exist: images too large for more,
        streams, reinforcement learning.
    Harms: it is slower than the other normalisations, since examples are taken one by one. Its statistics lag by about a
        thousand examples: a fast change of the input goes through unnormalised. The backward pass keeps a memory, so gradients
        of one batch taken twice differ.
    Cost: two parameters and four running numbers a feature; a step along the batch for every example.
    References: Chiley et al. 2019, "Online normalization for training neural networks", arXiv 1905.05894.
    """

    name: ClassVar[str] = "online-norm"
    family: ClassVar[str] = "normalisation"
    summary: ClassVar[str] = "online normalisation before each hidden activation, and for batch normalisation"
    treats: ClassVar[tuple[str, ...]] = (
        "batch-too-small",
        "running-stats-drift",
        "exploding-gradient",
        "saturated-activation",
        "vanishing-gradient",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One insertion a place. Raises NotApplicable where there is none."""
        return insert_normalisations(network, context, _build, remedy=self.name)


def _build(features: int, axes: int) -> nn.Module:
    return OnlineNorm(features, axis=-1 if axes == 2 else 1)
