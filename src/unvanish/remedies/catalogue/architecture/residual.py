"""Skip connections with a gate that starts at zero, so that a deep network starts as the identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_exchange import rewritten
from unvanish.remedies.edits.method_rewriting import DROPPED
from unvanish.remedies.edits.module_edits import Replace, places
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import ACTIVATIONS, NORMALISATIONS, WEIGHTED, Kind
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.layers.gate import Gate, Residual
from unvanish.remedies.structure.branches import Branch, residual_branches
from unvanish.remedies.structure.chain_links import Link, activations_of, links


@final
class SkipInit(Remedy):
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
        layout = trace_graph(network, context.inputs)
        if any(isinstance(module, (Gate, Residual)) for module in network.modules()):
            raise NotApplicable(f"residual: {type(network).__name__} has its gates already; nothing is left to add")
        existing = residual_branches(layout)
        if existing:
            return _gated(network, layout, existing)
        chosen = links(layout)
        if not any(link.keeps_shape for link in chosen):
            raise NotApplicable(f"residual: {_reason(network, layout, chosen)}")
        return _wrapped(network, chosen)


def _wrapped(network: nn.Module, chosen: Sequence[Link]) -> tuple[Operation, ...]:
    """Each link becomes one module in its layer's place; what it was made of beside the layer passes everything on."""
    found = places(network)
    operations: list[Operation] = []
    for link in chosen:
        new = Residual(*link.branch) if link.keeps_shape else nn.Sequential(*link.branch)
        if isinstance(new, Residual):
            new.scale.data = new.scale.data.to(link.weighted.weight)
        trained = any(parameter.requires_grad for parameter in link.weighted.parameters())
        neighbour = link.weighted if trained else network  # nobody owns the parameters of a frozen layer
        operations.append(Replace(link.layer.path, link.weighted, new, found[link.weighted], neighbour, "insert"))
    modules, calls = activations_of(chosen)
    for step in (*(step for link in chosen for step in link.between), *modules):
        if step.module is not None:
            operations.append(Replace(step.path, step.module, nn.Identity(), found[step.module], action="remove"))
    return (*operations, *rewritten(network, [(step, DROPPED) for step in calls], remedy=SkipInit.name))


def _gated(network: nn.Module, layout: ForwardGraph, existing: Sequence[Branch]) -> tuple[Operation, ...]:
    """A gate behind the last module of each branch."""
    found = places(network)
    ends = {step.module: step for step in (_end(each, layout) for each in existing) if step.module is not None}
    operations: list[Operation] = []
    for module, step in ends.items():
        gate = Gate()
        like = next(network.parameters() if next(module.parameters(), None) is None else module.parameters())
        gate.scale.data = gate.scale.data.to(like)
        neighbour = module if next(module.parameters(), None) is not None else network
        operations.append(Replace(step.path, module, nn.Sequential(module, gate), found[module], neighbour, "insert"))
    return tuple(operations)


def _end(branch: Branch, layout: ForwardGraph) -> GraphStep:
    """The last module of a branch that a gate can stand behind. Raises NotApplicable where the branch ends otherwise."""
    position = branch.end
    while True:
        step = layout.steps[position]
        if step.module is not None and isinstance(step.module, (*WEIGHTED, *ACTIVATIONS, *NORMALISATIONS)):
            if len(layout.positions(step.module)) == len(layout.consumers[position]) == 1:
                return step
            break
        if step.kind is not Kind.NEUTRAL or len(step.sources) != 1 or len(layout.consumers[position]) != 1:
            break
        (position,) = step.sources
    where = layout.steps[branch.sum].path or "the network itself"
    raise NotApplicable(
        f"residual: the branch of the sum in {where} does not end in a module of its own, behind which a gate could stand "
        f"({step.op}); multiply it by a learned number that starts at zero: x + self.a * branch(x)"
    )


def _reason(network: nn.Module, layout: ForwardGraph, chosen: Sequence[Link]) -> str:
    name = type(network).__name__
    if chosen:
        widths = ", ".join(repr(link.layer.path) for link in chosen[:3])
        return (
            f"no layer of {name} puts out what it takes in ({widths} change the shape), so nothing can be added to it; "
            "make two equally wide"
        )
    if not layout.traced:
        return f"the forward of {name} could not be traced, and its layers are no neighbours in nn.Sequential; pass inputs="
    return f"{name} has no layer with a hidden activation of its own that could become a branch; add the skips by hand"
