"""Plans the insertion of normalisation layers before hidden activations, and in the place of batch normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.network.module_kinds import WEIGHTED, WeightedLayer
from unvanish.remedies.base import Context, Operation
from unvanish.remedies.edits.module_edits import Place, Replace, module_places
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph
from unvanish.remedies.graph.shape_probe import probe_shapes
from unvanish.remedies.graph.signal_kinds import SEALED, Kind
from unvanish.remedies.graph.trace_graph import trace_graph

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""The modules that are replaced by the new normalisation."""

# Calls that hint at an axis of positions between batch and features: there the channels are the last axis, and not the second.
_SEQUENCE_CALLS = frozenset({"transpose", "permute", "movedim", "swapaxes", "bmm", "matmul", "einsum", "scaleddotproductattention"})


@dataclass(frozen=True, slots=True)
class InsertionPoint:
    """A weighted layer directly before a hidden activation; `activation` is None for a call, and for a module with other uses."""

    path: str
    layer: WeightedLayer
    activation_path: str
    activation: nn.Module | None

    @property
    def features(self) -> int:
        """The number of output features or channels of the layer."""
        return self.layer.out_features if isinstance(self.layer, nn.Linear) else self.layer.out_channels

    @property
    def axes(self) -> int:
        """The number of axes of the layer's output if its features are the second: 2 for (batch, features), 4 for 2-d images."""
        return 2 if isinstance(self.layer, nn.Linear) else 2 + len(self.layer.kernel_size)


BuildNorm = Callable[[int, int], nn.Module]
"""Builds a normalisation from the number of features and the number of axes; with 2 axes the features may also come last."""


def insert_normalisations(network: nn.Module, context: Context, build: BuildNorm, *, remedy: str) -> tuple[Operation, ...]:
    """The operations that insert a normalisation before every hidden activation, and replace every batch normalisation by one.

    Arguments:
        network: the network to treat.
        context: as in `Remedy.plan`; `inputs` show how many axes a BatchNorm1d gets.
        build: makes each normalisation.
        remedy: name of the remedy, with which messages begin.

    Raises:
        NotApplicable: there is no place for a normalisation.
        UsageError: `context.inputs` cannot be run through the network.
    """
    graph = trace_graph(network, context.inputs)
    places = module_places(network)
    norms = [(path, norm) for path, norm in network.named_modules() if isinstance(norm, BATCH_NORMS) and path]
    axes_unknown = context.inputs is not None and any(isinstance(norm, nn.BatchNorm1d) for _, norm in norms)
    shapes = {call.path: call.shape for call in probe_shapes(network, context.inputs)} if axes_unknown else {}
    replacements = [
        Replace(
            path,
            norm,
            _match_device_and_dtype(norm, build(norm.num_features, _count_axes(norm, shapes.get(path, ())))),
            places[norm],
            norm if norm.affine else network,
        )
        for path, norm in norms
    ]
    operations = (
        *replacements,
        *(insert_at(point, build(point.features, point.axes), places) for point in insertion_points(graph)),
    )
    if not operations:
        raise NotApplicable(f"{remedy}: {explain_no_place(network, graph)}")
    return operations


def insertion_points(graph: ForwardGraph) -> tuple[InsertionPoint, ...]:
    """The places for a normalisation. Left out: gates, outputs, layers that are frozen, read elsewhere, or run several times."""
    read_directly = {step.path.rpartition(".")[0] for step in graph.steps if step.op == PARAMETER}
    points: list[InsertionPoint] = []
    for position, step in graph.activations():
        layer_at = graph.previous_operation(position)
        if layer_at < 0 or not graph.hidden[position] or graph.is_gate(position):
            continue
        layer_step = graph.steps[layer_at]
        layer = layer_step.module
        if not isinstance(layer, WEIGHTED) or not any(p.requires_grad for p in layer.parameters()):
            continue
        used_once = step.module is not None and len(graph.positions(step.module)) == 1
        if used_once or (layer_step.path not in read_directly and _can_wrap(graph, layer_at)):
            points.append(InsertionPoint(layer_step.path, layer, step.path, step.module if used_once else None))
    return tuple(points)


def insert_at(point: InsertionPoint, norm: nn.Module, places: Mapping[nn.Module, tuple[Place, ...]]) -> Operation:
    """The operation that puts a normalisation between a layer and its activation; `places` as from `module_places`."""
    layer, activation = point.layer, point.activation
    weight = next(layer.parameters())
    norm = norm.to(device=weight.device, dtype=weight.dtype)
    if activation is not None:
        return Replace(point.activation_path, activation, nn.Sequential(norm, activation), places[activation], layer, "insert")
    return Replace(point.path, layer, nn.Sequential(layer, norm), places[layer], layer, "insert")


def require_features_second(network: nn.Module, context: Context, graph: ForwardGraph, *, remedy: str, norm_name: str) -> None:
    """Raises NotApplicable where a layer's output has its features last, (batch, time, features), or may have."""
    points = insertion_points(graph)
    if context.inputs is None:
        if any(isinstance(point.layer, nn.Linear) for point in points):
            _require_no_sequence(network, graph, remedy=remedy)
        return
    shapes = {call.path: call.shape for call in probe_shapes(network, context.inputs)}
    for point in points:
        shape = shapes.get(point.path)
        if shape is not None and len(shape) != point.axes:
            raise NotApplicable(
                f"{remedy}: {point.path!r} puts out a tensor of shape {shape}, where {norm_name} needs {point.axes} axes, channels "
                "second; choose another remedy (layernorm takes any shape)"
            )


def explain_no_place(network: nn.Module, graph: ForwardGraph) -> str:
    """Why a network has no place for a normalisation, and what to do."""
    name = type(network).__name__
    hidden = [position for position, _ in graph.activations() if graph.hidden[position]]
    kinds_before = [graph.steps[position].kind for position in map(graph.previous_operation, hidden) if position >= 0]
    if Kind.NORMALISATION in kinds_before:
        return f"{name} has it already there: its hidden activations are normalised; nothing is left to insert"
    if not graph.is_traced:
        return (
            f"no weighted layer of {name} is known to run directly before an activation: its forward could not be traced, and they "
            "are no neighbours in an nn.Sequential; pass inputs= to have it followed, or insert the normalisation by hand"
        )
    if not hidden:
        return f"{name} has no hidden activation, before which to normalise; add one between its layers"
    return (
        f"no hidden activation of {name} has a trainable layer to itself directly before it (layers that run several "
        "times, are frozen, or are read elsewhere in forward are left alone); insert the normalisation by hand"
    )


def _match_device_and_dtype(old: nn.Module, new: nn.Module) -> nn.Module:
    reference = next(iter((*old.parameters(), *old.buffers())), None)
    if reference is None:
        return new
    return new.to(device=reference.device, dtype=reference.dtype if reference.is_floating_point() else None)


def _count_axes(norm: nn.Module, shape: tuple[int, ...]) -> int:
    """The number of axes that a batch normalisation gets; a BatchNorm1d takes 2 or 3, which only the shape of a batch shows."""
    if isinstance(norm, nn.BatchNorm2d):
        return 4
    return 5 if isinstance(norm, nn.BatchNorm3d) else len(shape) or 2


def _can_wrap(graph: ForwardGraph, position: int) -> bool:
    """Whether a layer can become nn.Sequential(layer, norm): it runs once, and one operation alone takes its output."""
    module = graph.steps[position].module
    return module is not None and len(graph.positions(module)) == 1 and len(graph.consumers[position]) == 1


def _require_no_sequence(network: nn.Module, graph: ForwardGraph, *, remedy: str) -> None:
    kinds = sorted({type(module).__name__ for module in network.modules() if isinstance(module, (*SEALED, nn.Embedding))})
    calls = sorted({step.op for step in graph.steps if step.op in _SEQUENCE_CALLS})
    if kinds or calls:
        raise NotApplicable(
            f"{remedy}: {type(network).__name__} looks like a network for sequences ({', '.join([*kinds, *calls])}), whose Linear "
            "layers may put out (batch, time, features), with the channels last; pass inputs= to have it checked"
        )
