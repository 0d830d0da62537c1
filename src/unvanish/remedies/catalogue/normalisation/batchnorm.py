"""The remedy batchnorm: batch normalisation before hidden activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.module_edits import module_places
from unvanish.remedies.edits.normalisation_insertion import (
    InsertionPoint,
    explain_no_place,
    insert_at,
    insertion_points,
    require_features_second,
)
from unvanish.remedies.graph.shape_probe import probe_shapes
from unvanish.remedies.graph.trace_graph import trace_graph


@final
class BatchNorm(Remedy):
    """Puts batch normalisation before each hidden activation, so that none of them is driven into saturation.

    Does: puts nn.BatchNorm1d, 2d or 3d between a trainable weighted layer and the hidden activation directly behind it. An
        activation module `act` becomes nn.Sequential(norm, act) in its place: other keys of the state_dict keep their names.
        Where the activation is a call in `forward`, or a module shared by several layers, the weighted layer becomes
        nn.Sequential(layer, norm): "fc.weight" is then "fc.0.weight". Left alone: the output, gates, places that have a
        normalisation, layers that run several times, frozen layers, layers whose weight is read elsewhere in `forward`. The new
        parameters join the optimizer if it is given; otherwise build the optimizer afterwards.
    Helps: deep networks of sigmoid or tanh units: at 50 layers of sigmoid the gradient keeps its size, and the network learns,
        where it is lost without. Larger learning rates become possible.
    Harms: batches too small for statistics (it cannot train on one example); a plain ReLU network of 50 layers or more, whose
        gradient it makes explode by about 1.21 a layer in RMS (Yang 2019); training and evaluation differ. On sequences (batch,
        time, features) it would take time for the channels: with inputs= that is refused, without them it is refused where the
        network looks like one for sequences.
    Cost: two parameters and two running statistics a channel, and one more pass over each hidden layer's output per step.
    References: Ioffe and Szegedy 2015, arXiv 1502.03167; Yang et al. 2019, arXiv 1902.08129.
    """

    name: ClassVar[str] = "batchnorm"
    family: ClassVar[str] = "normalisation"
    summary: ClassVar[str] = "batch normalisation before each hidden activation"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-gradient", "exploding-gradient", "saturated-activation", "dead-units")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One insertion a place. Raises NotApplicable where there is no place, or batch statistics make no sense."""
        graph = trace_graph(network, context.inputs)
        points = insertion_points(graph)
        if not points:
            raise NotApplicable(f"batchnorm: {explain_no_place(network, graph)}")
        require_features_second(network, context, graph, remedy=self.name, norm_name="batch normalisation")
        if context.inputs is not None:
            _require_batch(points, {call.path: call.shape for call in probe_shapes(network, context.inputs)})
        places = module_places(network)
        return tuple(insert_at(point, _build(point.features, point.axes), places) for point in points)


def _build(features: int, axes: int) -> nn.Module:

    return {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(axes, nn.BatchNorm1d)(features)


def _require_batch(points: tuple[InsertionPoint, ...], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for point in points:
        shape = shapes.get(point.path)
        if shape is not None and shape[0] == 1:
            raise NotApplicable(
                f"batchnorm: the batch holds one example (shape {shape} at {point.path!r}), which has no statistics; "
                "use a larger batch, or online-norm"
            )
