"""Batch normalisation between a weighted layer and its activation. It finds the places; it changes no weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.contract import Context, Operation, Remedy
from unvanish.remedies.kinds import SEALED, WEIGHTED, Kind, WeightedLayer
from unvanish.remedies.layout import PARAMETER, Layout
from unvanish.remedies.rehearsal import rehearse
from unvanish.remedies.surgery import Place, Replace, places
from unvanish.remedies.survey import survey

Norm = type[nn.BatchNorm1d] | type[nn.BatchNorm2d] | type[nn.BatchNorm3d]

# Calls that tell of an axis of positions, between batch and features: there BatchNorm1d would take the wrong axis for the channels.
_SEQUENCE_CALLS = frozenset({"transpose", "permute", "movedim", "swapaxes", "bmm", "matmul", "einsum", "scaleddotproductattention"})


@dataclass(frozen=True, slots=True)
class _Spot:
    """A weighted layer directly before a hidden activation; `activation` is None where it is not a module of its own use."""

    path: str
    layer: WeightedLayer
    activation_path: str
    activation: nn.Module | None


@final
class BatchNorm(Remedy):
    """Puts batch normalisation before each hidden activation, so that none of them is driven into saturation.

    Does: puts nn.BatchNorm1d, 2d or 3d between a trainable weighted layer and the hidden activation directly behind it. An
        activation module `act` becomes nn.Sequential(norm, act) in its place: other keys of the state_dict keep their names.
        Where the activation is a call in `forward`, or a module shared by several layers, the weighted layer becomes
        nn.Sequential(layer, norm): "fc.weight" is then "fc.0.weight". Left alone: the output, gates, places that have a
        normalisation, layers that run several times, frozen layers, layers whose weight is read elsewhere in `forward`.
        The new parameters join the optimizer if it is given; otherwise build the optimizer afterwards.
    Helps: deep networks of sigmoid or tanh units: at 50 layers of sigmoid the gradient keeps its size, and the network
        learns, where it is lost without. Larger learning rates become possible.
    Harms: batches too small for statistics (it cannot train on one example); a plain ReLU network of 50 layers or more, whose
        gradient it makes explode by about 1.21 a layer in RMS (Yang 2019); training and evaluation differ. On
        sequences (batch, time, features) it would take time for the channels: with inputs= that is refused, without them it
        is refused where the network looks like one for sequences.
    Cost: two parameters and two running statistics a channel, and one more pass over each hidden layer's output per step.
    References: Ioffe and Szegedy 2015, arXiv 1502.03167; Yang et al. 2019, arXiv 1902.08129.
    """

    name: ClassVar[str] = "batchnorm"
    family: ClassVar[str] = "normalisation"
    summary: ClassVar[str] = "batch normalisation before each hidden activation"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-gradient", "exploding-gradient", "saturated-activation", "dead-units")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One insertion a place. Raises NotApplicable where there is no place, or where batch statistics make no sense."""
        layout = survey(network, context.inputs)
        spots = _spots(layout)
        if not spots:
            raise NotApplicable(f"batchnorm: {_reason(network, layout)}")
        if context.inputs is not None:
            _require_batches(spots, {call.path: call.shape for call in rehearse(network, context.inputs)})
        elif any(isinstance(spot.layer, nn.Linear) for spot in spots):
            _require_no_sequence(network, layout)
        found = places(network)
        return tuple(_insertion(spot, found) for spot in spots)


def _spots(layout: Layout) -> tuple[_Spot, ...]:
    read = {step.path.rpartition(".")[0] for step in layout.steps if step.op == PARAMETER}
    found: list[_Spot] = []
    for position, step in layout.activations():
        source = layout.preceding(position)
        if source < 0 or not layout.hidden[position] or layout.is_gate(position):
            continue
        before = layout.steps[source]
        layer = before.module
        if not isinstance(layer, WEIGHTED) or not any(p.requires_grad for p in layer.parameters()):
            continue
        alone = step.module is not None and len(layout.positions(step.module)) == 1
        if alone or (before.path not in read and _can_wrap(layout, source)):
            found.append(_Spot(before.path, layer, step.path, step.module if alone else None))
    return tuple(found)


def _can_wrap(layout: Layout, source: int) -> bool:
    """Whether a layer can be put into nn.Sequential(layer, norm): it runs once, and feeds one operation alone."""
    module = layout.steps[source].module
    return module is not None and len(layout.positions(module)) == 1 and len(layout.consumers[source]) == 1


def _insertion(spot: _Spot, found: Mapping[nn.Module, tuple[Place, ...]]) -> Operation:
    layer, activation = spot.layer, spot.activation
    weight = next(layer.parameters())
    features = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    norm = _norm_for(layer)(features, device=weight.device, dtype=weight.dtype)
    if activation is not None:
        return Replace(spot.activation_path, activation, nn.Sequential(norm, activation), found[activation], layer, "insert")
    return Replace(spot.path, layer, nn.Sequential(layer, norm), found[layer], layer, "insert")


def _norm_for(layer: WeightedLayer) -> Norm:
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        return nn.BatchNorm2d
    return nn.BatchNorm3d if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d)) else nn.BatchNorm1d


def _axes(layer: WeightedLayer) -> int:
    """The number of axes of the layer's output on a batch."""
    return 2 if isinstance(layer, nn.Linear) else 2 + len(layer.kernel_size)


def _require_batches(spots: tuple[_Spot, ...], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for spot in spots:
        shape = shapes.get(spot.path)
        if shape is None:
            continue
        if len(shape) != _axes(spot.layer):
            raise NotApplicable(
                f"batchnorm: {spot.path!r} puts out a tensor of shape {shape}, where "
                f"{_norm_for(spot.layer).__name__} needs {_axes(spot.layer)} axes, channels second; choose another remedy"
            )
        if shape[0] == 1:
            raise NotApplicable(
                f"batchnorm: the batch holds one example (shape {shape} at {spot.path!r}), which has no statistics; "
                "use a larger batch"
            )


def _require_no_sequence(network: nn.Module, layout: Layout) -> None:
    kinds = sorted({type(m).__name__ for m in network.modules() if isinstance(m, (*SEALED, nn.Embedding))})
    calls = sorted({step.op for step in layout.steps if step.op in _SEQUENCE_CALLS})
    if kinds or calls:
        raise NotApplicable(
            f"batchnorm: {type(network).__name__} looks like a network for sequences ({', '.join([*kinds, *calls])}), whose Linear "
            "layers may put out (batch, time, features), with the channels last; pass inputs= to have it checked"
        )


def _reason(network: nn.Module, layout: Layout) -> str:
    name = type(network).__name__
    hidden = [position for position, _ in layout.activations() if layout.hidden[position]]
    before = [layout.steps[source].kind for source in map(layout.preceding, hidden) if source >= 0]
    if Kind.NORMALISATION in before:
        return f"{name} has it already there: its hidden activations are normalised; nothing is left to insert"
    if not layout.traced:
        return (
            f"no weighted layer of {name} is known to run directly before an activation: its forward could not be traced, and they "
            "are no neighbours in an nn.Sequential; put them in one, or insert the normalisation by hand"
        )
    if not hidden:
        return f"{name} has no hidden activation, before which to normalise; add one between its layers"
    return (
        f"no hidden activation of {name} has a trainable layer to itself directly before it (layers that run several "
        "times, are frozen, or are read elsewhere in forward are left alone); insert the normalisation by hand"
    )
