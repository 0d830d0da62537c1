"""The remedy dynamic-tanh: g tanh(a x) + b in place of layer normalisation, or before hidden activations (Zhu 2025)."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.module_edits import Replace, module_places
from unvanish.remedies.edits.normalisation_insertion import insert_normalisations
from unvanish.remedies.layers.dynamic_tanh import DynamicTanh
from unvanish.remedies.object_identity import ancestors


@final
class DyT(Remedy):
    """Puts a learned squashing, g tanh(a x) + b, in the place of layer normalisation: no statistics, and nothing to gather.

    Does: replaces every nn.LayerNorm and nn.RMSNorm over the last axis, but those inside torch's transformer layers, by
        DynamicTanh with a = 0.5. A network that has none gets one before each hidden activation, and in the place of batch
        normalisation; where that activation is a call in `forward`, or shared, the layer becomes nn.Sequential(layer, norm).
        The new parameters join the optimizer if it is given; otherwise build the optimizer afterwards.
    Helps: transformers whose normalisation costs too much, or whose batches are too small for statistics: large activations are
        squashed as a layer normalisation would, without a mean to be taken.
    Harms: it does not make a small signal larger: a network whose signal dies out is not repaired. In plain convolutional
        networks it is no match for batch normalisation. A trained network no longer computes what it learned.
    Cost: one number, and two a feature; one tanh an element.
    References: Zhu et al. 2025, "Transformers without normalization", arXiv 2503.10622.
    """

    name: ClassVar[str] = "dynamic-tanh"
    family: ClassVar[str] = "normalisation"
    summary: ClassVar[str] = "a learned tanh in the place of layer normalisation"
    treats: ClassVar[tuple[str, ...]] = ("exploding-gradient", "batch-too-small", "running-stats-drift")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One replacement a normalisation, or else one insertion a place. Raises NotApplicable where there is neither."""
        places = module_places(network)
        replacements = [
            Replace(
                path,
                norm,
                DynamicTanh(width).to(_reference_parameter(norm, network)),
                places[norm],
                norm if _has_parameters(norm) else network,
            )
            for path, norm in network.named_modules()
            if (width := _width(norm)) and path and not _inside_transformer(network, path)
        ]
        if replacements:
            return tuple(replacements)
        if any(isinstance(module, DynamicTanh) for module in network.modules()):
            raise NotApplicable(f"dynamic-tanh: {type(network).__name__} has it already; nothing is left to replace")
        return insert_normalisations(network, context, _build, remedy=self.name)


def _width(norm: nn.Module) -> int:
    """The features that a layer normalisation over the last axis takes; 0 for any other module."""
    shape = norm.normalized_shape if isinstance(norm, (nn.LayerNorm, nn.RMSNorm)) else ()
    return shape[0] if len(shape) == 1 else 0


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _reference_parameter(norm: nn.Module, network: nn.Module) -> nn.Parameter:
    return next(norm.parameters() if _has_parameters(norm) else network.parameters())


def _inside_transformer(network: nn.Module, path: str) -> bool:
    """Whether a module is inside one of torch's transformer layers, whose fast path reads the normalisation by name."""
    kinds = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    return any(isinstance(module, kinds) for module in ancestors(network, path))


def _build(features: int, axes: int) -> nn.Module:
    return DynamicTanh(features, axis=-1 if axes == 2 else 1)
