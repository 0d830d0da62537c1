"""The remedy residual: skip connections with a learned gate that starts at zero (ReZero, SkipInit)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.network.module_kinds import WEIGHTED
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_replacement import rewrite_calls
from unvanish.remedies.edits.method_rewriting import NO_CALL
from unvanish.remedies.edits.module_edits import Replace, module_places
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.signal_kinds import ACTIVATIONS, NORMALISATIONS, Kind
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.layers.learned_gate import Gate, Residual
from unvanish.remedies.structure.activated_layers import ActivatedLayer, activated_layers, unique_activations
from unvanish.remedies.structure.branches import Branch, residual_branches


@final
class ResidualConnections(Remedy):
    """Gives every layer a way around it: x + a F(x), with one learned number a that starts at zero.

    Does: where a Linear layer or a convolution keeps the shape of its input, it becomes, with its normalisation and its
        activation, the branch of a residual sum whose gate starts at 0 (ReZero); "fc.weight" is then "fc.branch.0.weight". A
        network that has residual sums already gets such a gate at the end of each branch instead (SkipInit). The network starts
        as the identity between the layers that change the shape, and as deep as it learns to be. The gates join the optimizer
        if it is given; otherwise build the optimizer afterwards.
    Helps: plain networks so deep that the gradient vanishes, explodes or turns to noise on its way, whatever the
        initialisation: with it 200 layers learn as 50 do. Residual networks without normalisation, whose signal grows with
        depth.
    Harms: the network is another one: a layer's output is no longer free of its input. With few layers there is nothing to
        gain. The gates first have to open: the first steps learn little but the first and last layers.
    Cost: one parameter and one addition a layer.
    References: He et al. 2015, arXiv 1512.03385; De and Smith 2020, arXiv 2002.10444; Bachlechner et al. 2020, arXiv
        2003.04887.
    """

    name: ClassVar[str] = "residual"
    family: ClassVar[str] = "architecture"
    summary: ClassVar[str] = "a skip around each layer, with a learned gate from zero"
    treats: ClassVar[tuple[str, ...]] = (
        "vanishing-gradient",
        "exploding-gradient",
        "shattered-gradient",
        "representation-collapse",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """A gate a residual branch, or else a sum a layer. Raises NotApplicable where there is neither."""
        graph = trace_graph(network, context.inputs)
        if any(isinstance(module, (Gate, Residual)) for module in network.modules()):
            raise NotApplicable(f"residual: {type(network).__name__} has its gates already; nothing is left to add")
        branches = residual_branches(graph)
        if branches:
            return _add_gates(network, graph, branches)
        blocks = activated_layers(graph)
        if not any(block.keeps_shape for block in blocks):
            raise NotApplicable(f"residual: {_explain_refusal(network, graph, blocks)}")
        return _wrap_layers(network, blocks)


def _wrap_layers(network: nn.Module, blocks: Sequence[ActivatedLayer]) -> tuple[Operation, ...]:
    """Replaces each layer by one module that contains its normalisation and activation; these become identities where they were."""
    places = module_places(network)
    operations: list[Operation] = []
    for block in blocks:
        replacement = Residual(*block.modules) if block.keeps_shape else nn.Sequential(*block.modules)
        if isinstance(replacement, Residual):
            replacement.scale.data = replacement.scale.data.to(block.weighted_layer.weight)
        is_trained = any(parameter.requires_grad for parameter in block.weighted_layer.parameters())
        neighbour = block.weighted_layer if is_trained else network  # no optimizer may have the parameters of a frozen layer
        operations.append(
            Replace(block.layer.path, block.weighted_layer, replacement, places[block.weighted_layer], neighbour, "insert")
        )
    modules, calls = unique_activations(blocks)
    for step in (*(step for block in blocks for step in block.between), *modules):
        if step.module is not None:
            operations.append(Replace(step.path, step.module, nn.Identity(), places[step.module], action="remove"))
    return (*operations, *rewrite_calls(network, [(step, NO_CALL) for step in calls], remedy=ResidualConnections.name))


def _add_gates(network: nn.Module, graph: ForwardGraph, branches: Sequence[Branch]) -> tuple[Operation, ...]:
    """Puts a gate behind the last module of each branch."""
    places = module_places(network)
    ends = {step.module: step for step in (_find_branch_end(branch, graph) for branch in branches) if step.module is not None}
    operations: list[Operation] = []
    for module, step in ends.items():
        gate = Gate()
        reference = next(network.parameters() if next(module.parameters(), None) is None else module.parameters())
        gate.scale.data = gate.scale.data.to(reference)
        neighbour = module if next(module.parameters(), None) is not None else network
        operations.append(Replace(step.path, module, nn.Sequential(module, gate), places[module], neighbour, "insert"))
    return tuple(operations)


def _find_branch_end(branch: Branch, graph: ForwardGraph) -> GraphStep:
    """The last module of a branch, where a gate can be put behind it. Raises NotApplicable where the branch ends otherwise."""
    position = branch.end
    while True:
        step = graph.steps[position]
        if step.module is not None and isinstance(step.module, (*WEIGHTED, *ACTIVATIONS, *NORMALISATIONS)):
            if len(graph.positions(step.module)) == len(graph.consumers[position]) == 1:
                return step
            break
        if step.kind is not Kind.NEUTRAL or len(step.sources) != 1 or len(graph.consumers[position]) != 1:
            break
        (position,) = step.sources
    description = graph.steps[branch.sum].path or "the network itself"
    raise NotApplicable(
        f"residual: the branch of the sum in {description} does not end in a module of its own, behind which a gate could stand "
        f"({step.op}); multiply it by a learned number that starts at zero: x + self.a * branch(x)"
    )


def _explain_refusal(network: nn.Module, graph: ForwardGraph, blocks: Sequence[ActivatedLayer]) -> str:
    name = type(network).__name__
    if blocks:
        paths = ", ".join(repr(block.layer.path) for block in blocks[:3])
        return (
            f"no layer of {name} puts out what it takes in ({paths} change the shape), so nothing can be added to it; "
            "make two equally wide"
        )
    if not graph.is_traced:
        return f"the forward of {name} could not be traced, and its layers are no neighbours in nn.Sequential; pass inputs="
    return f"{name} has no layer with a hidden activation of its own that could become a branch; add the skips by hand"
