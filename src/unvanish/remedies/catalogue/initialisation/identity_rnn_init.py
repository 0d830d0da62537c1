"""Recurrence that starts as the identity: a vanilla recurrent layer that keeps its state. It adds no gate and no parameter."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.module_edits import Fill, Initialise, places
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.structure.recurrence import VANILLA, Succession, Vanilla, levels, loops, spelled, unfilled, vanilla
from unvanish.remedies.structure.replaceable_recurrence import why_none

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
        """One initialisation a layer, behind its exchange where it has tanh. Raises NotApplicable for no recurrence."""
        operations: list[Operation] = []
        hung = places(network)
        for path, module in vanilla(network):
            rectified = module if module.nonlinearity == "relu" else _rectified(module)
            if rectified is not module:
                if module is network:
                    raise NotApplicable(
                        f"identity-rnn-init: {type(network).__name__} is itself the recurrence, and its tanh cannot be exchanged "
                        "in place; build it with nonlinearity='relu', or give the network that holds it"
                    )
                operations.append(Succession(path, module, rectified, hung[module]))
            if fills := _fills(module):
                after = "identity; biases 0" if module.bias else "identity"
                operations.append(Initialise(path, spelled(rectified), after, fills))
        layout = trace_graph(network, context.inputs)
        operations += [_written(layer, layout) for layer in loops(layout, direct=True) if _is_recurrent_matrix(layer, layout)]
        if not operations:
            raise NotApplicable(f"identity-rnn-init: {_reason(network, layout, context)}")
        return tuple(operations)


def _rectified(module: Vanilla) -> nn.RNN | nn.RNNCell:
    """A module with ReLU around the parameters of one with tanh."""
    new = unfilled(type(module), module, nonlinearity="relu")
    for name, parameter in module.named_parameters(remove_duplicate=False):
        setattr(new, name, parameter)
    return new


def _fills(module: Vanilla) -> tuple[tuple[nn.Parameter, Fill], ...]:
    fills: list[tuple[nn.Parameter | None, Fill]] = []
    for level in levels(module):
        fills += [(level.weight_hh, nn.init.eye_), (level.bias_ih, Tensor.zero_), (level.bias_hh, Tensor.zero_)]
    return tuple((parameter, fill) for parameter, fill in fills if parameter is not None and parameter.requires_grad)


def _is_recurrent_matrix(layer: nn.Module, layout: ForwardGraph) -> bool:
    """Whether a layer maps a state to the next one: square, trainable, its own, and no gate."""
    if not isinstance(layer, nn.Linear) or layer.in_features != layer.out_features:
        return False
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    behind = [layout.following(position) for position in layout.positions(layer)]
    gates = any(step is not None and step.op in _GATES for step in behind)
    return weight is not None and weight.requires_grad and not gates


def _written(layer: nn.Module, layout: ForwardGraph) -> Operation:
    path = layout.steps[layout.positions(layer)[0]].path
    own = dict(layer.named_parameters(recurse=False))
    bias = own.get("bias")
    fills: list[tuple[nn.Parameter, Fill]] = [(own["weight"], nn.init.eye_)]
    if bias is not None and bias.requires_grad:
        fills.append((bias, Tensor.zero_))
    return Initialise(path, repr(layer), "identity" if len(fills) == 1 else "identity; bias 0", tuple(fills))


def _reason(network: nn.Module, layout: ForwardGraph, context: Context) -> str:
    written = loops(layout, direct=False)
    if written and not any(isinstance(module, VANILLA) for module in network.modules()):
        path = layout.steps[layout.positions(written[0])[0]].path
        return (
            f"the recurrence that {type(network).__name__} writes by hand ({path!r} runs again on its own earlier results) has no "
            "square matrix from state to state of its own, or that is frozen or a gate; apply it to an nn.RNN, or give the state "
            "its own nn.Linear"
        )
    return why_none(network, context.inputs)
