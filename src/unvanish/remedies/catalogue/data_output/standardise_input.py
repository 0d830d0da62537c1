"""The remedy standardise-input: every feature of the network's input with mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.network.module_kinds import WEIGHTED, WeightedLayer
from unvanish.record.network_changes import Edit
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.module_edits import Place, Replace, module_places
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.model_copy import model_copy, without_side_effects
from unvanish.remedies.graph.shape_probe import call_with_inputs, inputs_error
from unvanish.remedies.graph.signal_kinds import Kind
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.layers.standardise import SUBMODULE_NAME, Standardise, standardise_layer_input
from unvanish.remedies.structure.input_output_layers import input_positions

InputLayer: TypeAlias = WeightedLayer | nn.RNNBase
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
        """One insertion a layer that takes the input. Raises NotApplicable where there is none, or all is standardised already."""
        if any(isinstance(module, Standardise) for module in network.modules()):
            raise NotApplicable(
                f"{self.name}: the input of {type(network).__name__} is standardised already; nothing is left to insert"
            )
        graph = trace_graph(network, context.inputs)
        layers = _input_layers(graph)
        if not layers:
            raise NotApplicable(f"{self.name}: {_explain_refusal(network, graph)}")
        modules = {path: _build_module(layer) for path, layer in layers.items()}
        if context.inputs is not None:
            for path, x in _record_inputs(network, context.inputs, tuple(layers)).items():
                modules[path].update_statistics(x)
        places = module_places(network)
        read_directly = {step.path.rpartition(".")[0] for step in graph.steps if step.op == PARAMETER}
        return tuple(
            _insert(path, layer, modules[path], places, keeps_layer=path in read_directly) for path, layer in layers.items()
        )


def _input_layers(graph: ForwardGraph) -> dict[str, InputLayer]:
    """The layers that take the network's input, by path; "" where the network itself is such a layer."""
    if len(graph.steps) == 1 and isinstance(only_layer := graph.steps[0].module, (*WEIGHTED, nn.RNNBase)):
        return {graph.steps[0].path: only_layer}
    if not graph.is_traced:
        return {}
    steps = [graph.steps[position] for position in input_positions(graph)]
    return {
        step.path: step.module
        for step in steps
        if step.path and isinstance(step.module, (*WEIGHTED, nn.RNNBase)) and len(graph.positions(step.module)) == 1
    }


def _build_module(layer: InputLayer) -> Standardise:
    weight, has_bias = next(layer.parameters()), "bias" in dict(layer.named_parameters(recurse=False))
    if isinstance(layer, nn.RNNBase):
        module = Standardise(layer.input_size, constant=0.0 if layer.bias else 1.0)
    elif isinstance(layer, nn.Linear):
        module = Standardise(layer.in_features, constant=0.0 if has_bias else 1.0)
    else:
        module = Standardise(layer.in_channels, axis=-1 - len(layer.kernel_size), constant=0.0 if has_bias else 1.0)
    return module.to(weight.device, torch.promote_types(weight.dtype, torch.float32))


def _record_inputs(network: nn.Module, inputs: Any, paths: Sequence[str]) -> dict[str, Tensor]:
    """The input of some layers, by path, when a copy of the network runs on the inputs."""
    inputs_by_path: dict[str, Tensor] = {}

    def record(path: str, args: Any, kwargs: Any) -> None:
        x = args[0] if args else kwargs["input"]
        inputs_by_path[path] = (x.data if isinstance(x, PackedSequence) else x).detach().clone()

    try:
        with without_side_effects():
            network_copy = model_copy(network)
            for path in paths:
                layer = network_copy.get_submodule(path)
                layer.register_forward_pre_hook(lambda _, args, kwargs, path=path: record(path, args, kwargs), with_kwargs=True)
            call_with_inputs(network_copy, inputs)
    except Exception as error:  # the user's forward may raise anything
        raise inputs_error(network, error) from error
    return inputs_by_path


def _insert(
    path: str, layer: InputLayer, module: Standardise, places: Mapping[nn.Module, tuple[Place, ...]], *, keeps_layer: bool
) -> Operation:
    if keeps_layer or not path or isinstance(layer, nn.RNNBase):
        return _StandardiseInside(path, layer, module)
    return Replace(path, layer, nn.Sequential(module, layer), places[layer], action="insert")


@dataclass(frozen=True, slots=True)
class _StandardiseInside(Operation):
    """Makes a layer standardise its own input, where nn.Sequential around it would not support its calls and attributes."""

    path: str
    layer: InputLayer
    module: Standardise

    @property
    def edit(self) -> Edit:
        """The layer without and with the standardisation."""
        return Edit("insert", self.path, repr(self.layer), f"{self.module!r}, {self.layer!r}")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Registers the module in the layer, with a hook that calls it."""
        del network, optimizers
        self.layer.register_module(SUBMODULE_NAME, self.module.train(self.layer.training))
        self.layer.register_forward_pre_hook(standardise_layer_input, prepend=True, with_kwargs=True)


def _explain_refusal(network: nn.Module, graph: ForwardGraph) -> str:
    name = type(network).__name__
    if not graph.is_traced:
        return (
            f"the forward of {name} could not be traced, so that it is not known which layer takes its input; pass inputs=, or "
            "standardise the data by hand"
        )
    steps = [graph.steps[at] for at in input_positions(graph)]
    if not steps:
        return f"no layer of {name} takes its input; standardise the data by hand"
    if any(isinstance(step.module, (nn.Embedding, nn.EmbeddingBag)) for step in steps):
        return f"the input of {name} goes into an embedding: these are tokens, which have no scale; nothing is left to do"
    if any(step.kind is Kind.NORMALISATION for step in steps):
        return (
            f"the input of {name} runs through a normalisation first ({_list_steps(steps)}), which scales it already; nothing is "
            "left to do"
        )
    return (
        f"the input of {name} first meets {_list_steps(steps)}, and no Linear, convolution or recurrent layer of its own that runs "
        "once; standardise the data by hand"
    )


def _list_steps(steps: Sequence[GraphStep]) -> str:
    return ", ".join(dict.fromkeys(f"{step.op} in {step.path or 'the network itself'}" for step in steps[:3]))
