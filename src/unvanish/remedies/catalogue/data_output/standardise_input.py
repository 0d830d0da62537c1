"""Standardisation of what enters the network. It finds the places; it changes no weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.record.change import Edit
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.module_edits import Place, Replace, places
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import WEIGHTED, Kind, WeightedLayer
from unvanish.remedies.graph.model_copy import model_copy, without_trace
from unvanish.remedies.graph.shape_probe import fed, misfit
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.layers.standardise import NAME, Standardise, precede
from unvanish.remedies.structure.outer_layers import at_input

Entry: TypeAlias = WeightedLayer | nn.RNNBase
"""A layer that takes the network's input."""


@final
class StandardiseInput(Remedy):
    """Shifts and scales the network's input so that every feature has mean 0 and deviation 1.

    Does: puts a Standardise module before each Linear, convolution or recurrent layer that the network's input reaches first:
        features of the last axis for Linear and recurrent layers, channels for convolutions. A feature that is constant becomes
        0, or 1 before a layer that has no bias. Given inputs=, the statistics begin with that batch; the first batches in
        training mode are added until 1024 examples have been seen, and from then on they stay. "fc.weight" is then
        "fc.1.weight"; where the layer is recurrent, or its weight is read elsewhere in `forward`, its keys keep their names.
        Left alone: layers behind a normalisation or an activation, and layers that run several times.
    Helps: raw data: pixels from 0 to 255, prices, sensors of different units. The loss is then curved alike in all directions,
        and units do not start saturated.
    Harms: features that hardly ever change are blown up. Where the size of an input relative to others carries the meaning,
        as in bags of words, it is lost. Weights that were trained on the raw inputs no longer fit. While statistics are
        gathered, a little of the function changes with every batch.
    Cost: two operations on the input per step; three numbers read back from the accelerator in each of the first steps.
    References: LeCun et al. 1998, "Efficient BackProp", sec. 4.3; Chan et al. 1983, "Algorithms for computing the sample variance".
    """

    name: ClassVar[str] = "standardise-input"
    family: ClassVar[str] = "data"
    summary: ClassVar[str] = "every feature of the input at mean 0 and deviation 1"
    treats: ClassVar[tuple[str, ...]] = ("unscaled-input", "saturated-activation", "exploding-gradient")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One insertion a layer that takes the input. Raises NotApplicable where there is none, or it is standardised already."""
        if any(isinstance(module, Standardise) for module in network.modules()):
            raise NotApplicable(
                f"{self.name}: the input of {type(network).__name__} is standardised already; nothing is left to insert"
            )
        layout = trace_graph(network, context.inputs)
        entries = _entries(layout)
        if not entries:
            raise NotApplicable(f"{self.name}: {_reason(network, layout)}")
        modules = {path: _module_for(layer) for path, layer in entries.items()}
        if context.inputs is not None:
            for path, x in _arriving(network, context.inputs, tuple(entries)).items():
                modules[path].gather(x)
        found = places(network)
        read = {step.path.rpartition(".")[0] for step in layout.steps if step.op == PARAMETER}
        return tuple(_insertion(path, layer, modules[path], found, inside=path in read) for path, layer in entries.items())


def _entries(layout: ForwardGraph) -> dict[str, Entry]:
    """The layers to put one before, by path: "" where the network itself is one."""
    if len(layout.steps) == 1 and isinstance(alone := layout.steps[0].module, (*WEIGHTED, nn.RNNBase)):
        return {layout.steps[0].path: alone}
    if not layout.traced:
        return {}
    steps = [layout.steps[at] for at in at_input(layout)]
    return {
        step.path: step.module
        for step in steps
        if step.path and isinstance(step.module, (*WEIGHTED, nn.RNNBase)) and len(layout.positions(step.module)) == 1
    }


def _module_for(layer: Entry) -> Standardise:
    weight = next(layer.parameters())
    device, dtype = weight.device, torch.promote_types(weight.dtype, torch.float32)
    if isinstance(layer, nn.RNNBase):
        return Standardise(layer.input_size, constant=0.0 if layer.bias else 1.0, device=device, dtype=dtype)
    constant = 1.0 if layer.bias is None else 0.0
    if isinstance(layer, nn.Linear):
        return Standardise(layer.in_features, constant=constant, device=device, dtype=dtype)
    axis = -1 - len(layer.kernel_size)
    return Standardise(layer.in_channels, axis=axis, constant=constant, device=device, dtype=dtype)


def _arriving(network: nn.Module, inputs: Any, paths: Sequence[str]) -> dict[str, Tensor]:
    """What reaches each of some layers when a copy of the network runs on the inputs."""
    found: dict[str, Tensor] = {}

    def note(path: str, args: Any, kwargs: Any) -> None:
        x = args[0] if args else kwargs["input"]
        found[path] = (x.data if isinstance(x, PackedSequence) else x).detach().clone()

    try:
        with without_trace():
            double = model_copy(network)
            for path in paths:
                layer = double.get_submodule(path)
                layer.register_forward_pre_hook(lambda _, args, kwargs, path=path: note(path, args, kwargs), with_kwargs=True)
            fed(double, inputs)
    except Exception as fault:  # the user's forward may raise anything
        raise misfit(network, fault) from fault
    return found


def _insertion(
    path: str, layer: Entry, module: Standardise, found: Mapping[nn.Module, tuple[Place, ...]], *, inside: bool
) -> Operation:
    if inside or not path or isinstance(layer, nn.RNNBase):
        return _Precede(path, layer, module)
    return Replace(path, layer, nn.Sequential(module, layer), found[layer], action="insert")


@dataclass(frozen=True, slots=True)
class _Precede(Operation):
    """Has a layer standardise its own input, for one whose calls and attributes a module around it would not take."""

    path: str
    layer: Entry
    module: Standardise

    @property
    def edit(self) -> Edit:
        """The layer, without and with it."""
        return Edit("insert", self.path, repr(self.layer), f"{self.module!r}, {self.layer!r}")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Hangs the module into the layer, with a hook that calls it."""
        del network, optimizers
        self.layer.register_module(NAME, self.module.train(self.layer.training))
        self.layer.register_forward_pre_hook(precede, prepend=True, with_kwargs=True)


def _reason(network: nn.Module, layout: ForwardGraph) -> str:
    name = type(network).__name__
    if not layout.traced:
        return (
            f"the forward of {name} could not be traced, so that it is not known which layer takes its input; pass inputs=, or "
            "standardise the data by hand"
        )
    steps = [layout.steps[at] for at in at_input(layout)]
    if not steps:
        return f"no layer of {name} takes its input; standardise the data by hand"
    if any(isinstance(step.module, (nn.Embedding, nn.EmbeddingBag)) for step in steps):
        return f"the input of {name} goes into an embedding: these are tokens, which have no scale; nothing is left to do"
    if any(step.kind is Kind.NORMALISATION for step in steps):
        return (
            f"the input of {name} runs through a normalisation first ({_named(steps)}), which scales it already; nothing is left "
            "to do"
        )
    return (
        f"the input of {name} first meets {_named(steps)}, and no Linear, convolution or recurrent layer of its own that runs "
        "once; standardise the data by hand"
    )


def _named(steps: Sequence[GraphStep]) -> str:
    return ", ".join(dict.fromkeys(f"{step.op} in {step.path or 'the network itself'}" for step in steps[:3]))
