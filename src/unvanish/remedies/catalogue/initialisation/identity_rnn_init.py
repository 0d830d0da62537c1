"""The remedy identity-rnn-init: vanilla recurrent layers with ReLU and the identity as recurrent matrix (Le 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.record.initial_values import Law
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.module_edits import Fill, Initialise, module_places
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.init.values_as_data import module_values
from unvanish.remedies.structure.recurrence import (
    VANILLA_CLASSES,
    ReplacedRecurrence,
    VanillaModule,
    create_uninitialised,
    format_module,
    layer_parameters,
    layers_in_loops,
    replaceable_vanilla_modules,
)
from unvanish.remedies.structure.replaceable_recurrence import explain_no_recurrence

_GATES = frozenset({"sigmoid", "hardsigmoid"})


@final
class IdentityRnnInit(Remedy):
    """Starts vanilla recurrent layers as rectified units whose recurrent matrix is the identity: what they hold, they keep.

    Does: in every nn.RNN and nn.RNNCell the recurrent matrix becomes the identity and biases 0; a layer with tanh is put into one
        with ReLU around the same parameters. Input weights stay as they are: the paper draws them from N(0, 0.001^2), from which
        the training below did not get away from chance (.165 to .168, three seeds). A square nn.Linear that runs on its own
        earlier result, in a loop written by hand, gets the identity and bias 0 too, if nothing but elementwise operations and
        sums lies between; where the loop goes over a sequence, that is seen only with inputs=. The activation that is called in
        such a loop stays: behind tanh the state still shrinks, if slowly. Left alone: gates, gated layers, frozen layers,
        subclasses, weights that are computed or shared with other layers. Given the optimizer, its state of the changed
        parameters starts afresh.
    Helps: long memories without the cost of gates. On the adding problem over 100 steps (64 units, 1500 steps of Adam at 2e-3)
        the error falls to .0022, .0025 and .0111 with three seeds, where torch's own start stays at .167, which is chance.
    Harms: nothing bounds a rectified state: over 200 steps the same training ended in NaN in spite of clipped gradients. What
        the recurrence had learned is lost. Use a small learning rate and clip gradients, or take gru.
    Cost: none per step.
    References: Le, Jaitly and Hinton 2015, arXiv 1504.00941.
    """

    name: ClassVar[str] = "identity-rnn-init"
    family: ClassVar[str] = "initialisation"
    summary: ClassVar[str] = "vanilla recurrence that starts as the identity, with ReLU"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-through-time", "vanishing-gradient")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One initialisation a layer, after its replacement where it has tanh. Raises NotApplicable where nothing recurs."""
        operations: list[Operation] = []
        places = module_places(network)
        for path, module in replaceable_vanilla_modules(network):
            new = module if module.nonlinearity == "relu" else _with_relu(module)
            if new is not module:
                if module is network:
                    raise NotApplicable(
                        f"identity-rnn-init: {type(network).__name__} is itself the recurrence, and its tanh cannot be exchanged "
                        "in place; build it with nonlinearity='relu', or give the network that holds it"
                    )
                operations.append(ReplacedRecurrence(path, module, new, places[module]))
            if fills := _fills(module):
                after = "identity; biases 0" if module.bias else "identity"
                values = module_values(path, new, _laws(fills))
                operations.append(Initialise(path, format_module(new), after, fills, values))
        graph = trace_graph(network, context.inputs)
        operations += [
            _initialise_loop(layer, graph) for layer in layers_in_loops(graph, direct=True) if _is_recurrent_matrix(layer, graph)
        ]
        if not operations:
            raise NotApplicable(f"identity-rnn-init: {_explain_refusal(network, graph, context)}")
        return tuple(operations)


def _with_relu(module: VanillaModule) -> nn.RNN | nn.RNNCell:
    """A module with ReLU that has the parameters of one with tanh."""
    rectified = create_uninitialised(type(module), module, nonlinearity="relu")
    for name, parameter in module.named_parameters(remove_duplicate=False):
        setattr(rectified, name, parameter)
    return rectified


def _fills(module: VanillaModule) -> tuple[tuple[nn.Parameter, Fill], ...]:
    fills: list[tuple[nn.Parameter | None, Fill]] = []
    for level in layer_parameters(module):
        fills += [(level.weight_hh, nn.init.eye_), (level.bias_ih, Tensor.zero_), (level.bias_hh, Tensor.zero_)]
    return tuple((parameter, fill) for parameter, fill in fills if parameter is not None and parameter.requires_grad)


def _is_recurrent_matrix(layer: nn.Module, graph: ForwardGraph) -> bool:
    """Whether a layer maps a state to the next one: square, trainable, with a weight of its own, and no gate."""
    if not isinstance(layer, nn.Linear) or layer.in_features != layer.out_features:
        return False
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    following = [graph.next_activation_or_layer(position) for position in graph.positions(layer)]
    is_gate = any(step is not None and step.op in _GATES for step in following)
    return weight is not None and weight.requires_grad and not is_gate


def _initialise_loop(layer: nn.Module, graph: ForwardGraph) -> Operation:
    path = graph.steps[graph.positions(layer)[0]].path
    parameters = dict(layer.named_parameters(recurse=False))
    bias = parameters.get("bias")
    fills: list[tuple[nn.Parameter, Fill]] = [(parameters["weight"], nn.init.eye_)]
    if bias is not None and bias.requires_grad:
        fills.append((bias, Tensor.zero_))
    after = "identity" if len(fills) == 1 else "identity; bias 0"
    return Initialise(path, repr(layer), after, tuple(fills), module_values(path, layer, _laws(fills)))


def _laws(fills: Sequence[tuple[nn.Parameter, Fill]]) -> list[tuple[nn.Parameter, Law]]:
    return [(parameter, Law.IDENTITY if fill is nn.init.eye_ else Law.ZEROS) for parameter, fill in fills]


def _explain_refusal(network: nn.Module, graph: ForwardGraph, context: Context) -> str:
    looped_layers = layers_in_loops(graph, direct=False)
    if looped_layers and not any(isinstance(module, VANILLA_CLASSES) for module in network.modules()):
        path = graph.steps[graph.positions(looped_layers[0])[0]].path
        return (
            f"the recurrence that {type(network).__name__} writes by hand ({path!r} runs again on its own earlier results) has no "
            "square matrix from state to state of its own, or that is frozen or a gate; apply it to an nn.RNN, or give the state "
            "its own nn.Linear"
        )
    return explain_no_recurrence(network, context.inputs)
