"""Puts a normalisation before each hidden activation, and in the place of batch normalisation. It decides where, not which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation
from unvanish.remedies.edits.module_edits import Place, Replace, places
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph
from unvanish.remedies.graph.kinds import SEALED, WEIGHTED, Kind, WeightedLayer
from unvanish.remedies.graph.shape_probe import probe_shapes
from unvanish.remedies.graph.trace_graph import trace_graph

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

# Calls that tell of an axis of positions, between batch and features: there the channels are last and not second.
_SEQUENCE_CALLS = frozenset({"transpose", "permute", "movedim", "swapaxes", "bmm", "matmul", "einsum", "scaleddotproductattention"})


@dataclass(frozen=True, slots=True)
class Spot:
    """A weighted layer directly before a hidden activation; `activation` is None where it is not a module of its own use."""

    path: str
    layer: WeightedLayer
    activation_path: str
    activation: nn.Module | None

    @property
    def features(self) -> int:
        """How many features the layer puts out."""
        return self.layer.out_features if isinstance(self.layer, nn.Linear) else self.layer.out_channels

    @property
    def axes(self) -> int:
        """The number of axes of the layer's output on a batch, where its features are the second."""
        return 2 if isinstance(self.layer, nn.Linear) else 2 + len(self.layer.kernel_size)


Build = Callable[[int, int], nn.Module]
"""Makes the normalisation of so many features for tensors with so many axes; 2 axes may also mean features that come last."""


def insertions(network: nn.Module, context: Context, build: Build, *, remedy: str) -> tuple[Operation, ...]:
    """Operations that normalise by `build` before every hidden activation, and wherever batch normalisation stands now.

    Raises NotApplicable, in the name of `remedy`, where there is no such place.
    """
    layout = trace_graph(network, context.inputs)
    found = places(network)
    norms = [(path, norm) for path, norm in network.named_modules() if isinstance(norm, BATCH_NORMS) and path]
    tells = context.inputs is not None and any(isinstance(norm, nn.BatchNorm1d) for _, norm in norms)
    shapes = {call.path: call.shape for call in probe_shapes(network, context.inputs)} if tells else {}
    exchanged = [
        Replace(
            path,
            norm,
            _like(norm, build(norm.num_features, _axes(norm, shapes.get(path, ())))),
            found[norm],
            norm if norm.affine else network,
        )
        for path, norm in norms
    ]
    operations = (*exchanged, *(inserted(spot, build(spot.features, spot.axes), found) for spot in spots(layout)))
    if not operations:
        raise NotApplicable(f"{remedy}: {reason(network, layout)}")
    return operations


def spots(layout: ForwardGraph) -> tuple[Spot, ...]:
    """Where a normalisation may be put in: no gate, no output, no layer that is read elsewhere or runs several times."""
    read = {step.path.rpartition(".")[0] for step in layout.steps if step.op == PARAMETER}
    found: list[Spot] = []
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
            found.append(Spot(before.path, layer, step.path, step.module if alone else None))
    return tuple(found)


def inserted(spot: Spot, norm: nn.Module, found: Mapping[nn.Module, tuple[Place, ...]]) -> Operation:
    """The operation that puts the normalisation between a layer and its activation."""
    layer, activation = spot.layer, spot.activation
    weight = next(layer.parameters())
    norm = norm.to(device=weight.device, dtype=weight.dtype)
    if activation is not None:
        return Replace(spot.activation_path, activation, nn.Sequential(norm, activation), found[activation], layer, "insert")
    return Replace(spot.path, layer, nn.Sequential(layer, norm), found[layer], layer, "insert")


def require_features_second(network: nn.Module, context: Context, layout: ForwardGraph, *, remedy: str, kind: str) -> None:
    """Raises NotApplicable where a layer puts out (batch, time, features), or may do so, and features are expected second."""
    chosen = spots(layout)
    if context.inputs is None:
        if any(isinstance(spot.layer, nn.Linear) for spot in chosen):
            _require_no_sequence(network, layout, remedy=remedy)
        return
    shapes = {call.path: call.shape for call in probe_shapes(network, context.inputs)}
    for spot in chosen:
        shape = shapes.get(spot.path)
        if shape is not None and len(shape) != spot.axes:
            raise NotApplicable(
                f"{remedy}: {spot.path!r} puts out a tensor of shape {shape}, where {kind} needs {spot.axes} axes, channels "
                "second; choose another remedy (layernorm takes any shape)"
            )


def reason(network: nn.Module, layout: ForwardGraph) -> str:
    """Why a network has no place for a normalisation, and what to do."""
    name = type(network).__name__
    hidden = [position for position, _ in layout.activations() if layout.hidden[position]]
    before = [layout.steps[source].kind for source in map(layout.preceding, hidden) if source >= 0]
    if Kind.NORMALISATION in before:
        return f"{name} has it already there: its hidden activations are normalised; nothing is left to insert"
    if not layout.traced:
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


def _like(old: nn.Module, new: nn.Module) -> nn.Module:
    """The new module on the device and in the type of the old one."""
    tensor = next(iter((*old.parameters(), *old.buffers())), None)
    return new if tensor is None else new.to(device=tensor.device, dtype=tensor.dtype if tensor.is_floating_point() else None)


def _axes(norm: nn.Module, shape: tuple[int, ...]) -> int:
    """The axes of what a batch normalisation takes; BatchNorm1d tells only by the shape of a batch whether there are positions."""
    if isinstance(norm, nn.BatchNorm2d):
        return 4
    return 5 if isinstance(norm, nn.BatchNorm3d) else len(shape) or 2


def _can_wrap(layout: ForwardGraph, source: int) -> bool:
    """Whether a layer can be put into nn.Sequential(layer, norm): it runs once, and feeds one operation alone."""
    module = layout.steps[source].module
    return module is not None and len(layout.positions(module)) == 1 and len(layout.consumers[source]) == 1


def _require_no_sequence(network: nn.Module, layout: ForwardGraph, *, remedy: str) -> None:
    kinds = sorted({type(m).__name__ for m in network.modules() if isinstance(m, (*SEALED, nn.Embedding))})
    calls = sorted({step.op for step in layout.steps if step.op in _SEQUENCE_CALLS})
    if kinds or calls:
        raise NotApplicable(
            f"{remedy}: {type(network).__name__} looks like a network for sequences ({', '.join([*kinds, *calls])}), whose Linear "
            "layers may put out (batch, time, features), with the channels last; pass inputs= to have it checked"
        )
