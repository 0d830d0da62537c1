"""What squeezes a network's output: activations behind which nothing but reshaping happens, and how to be rid of them. It alters
nothing itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn

from unvanish.remedies.base import Operation
from unvanish.remedies.edits.activation_exchange import rewritten
from unvanish.remedies.edits.method_rewriting import DROPPED
from unvanish.remedies.edits.module_edits import Replace, places
from unvanish.remedies.graph.call_sites import CallSite
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import Kind

BOUNDED = frozenset({"boundedsoftmax", "boundedsigmoid"})
"""What bounded-logits calls."""

SQUEEZING = BOUNDED | {
    *("softmax", "softmax2d", "sigmoid", "hardsigmoid", "tanh", "hardtanh"),
    *("relu", "relu6", "softplus", "softsign"),
}
"""What squeezes or cuts off. log_softmax and logsigmoid do neither: losses that want logarithms need them."""

LOGARITHMS = frozenset({"logsoftmax", "logsigmoid"})


def squashes(layout: ForwardGraph, among: Collection[str] = SQUEEZING) -> list[GraphStep]:
    """The steps at the output that are one of these operations, one for each module or line: every use must be at the output."""
    uses: dict[nn.Module | CallSite, list[int]] = {}
    for position, step in enumerate(layout.steps):
        key = step.module if step.module is not None else step.site
        if step.op in among and key is not None and (step.path or step.module is None):
            uses.setdefault(key, []).append(position)
    return [layout.steps[several[0]] for several in uses.values() if all(_is_output(at, layout) for at in several)]


def dropped(network: nn.Module, chosen: Sequence[GraphStep], *, remedy: str) -> tuple[Operation, ...]:
    """The operations that take such steps away. Raises NotApplicable, in the name of `remedy`, where a call cannot be edited."""
    found = places(network)
    modules = {step.module: step.path for step in chosen if step.module is not None}
    return (
        *(Replace(path, module, nn.Identity(), found[module], action="remove") for module, path in modules.items()),
        *rewritten(network, [(step, DROPPED) for step in chosen if step.module is None], remedy=remedy),
    )


def _is_output(position: int, layout: ForwardGraph) -> bool:
    """Whether nothing but reshaping happens to a step's result before it leaves the network."""
    if not layout.traced:
        return position == len(layout.steps) - 1
    consumers = layout.consumers[position]
    return bool(consumers) and all(
        layout.steps[each].op == "output" or (layout.steps[each].kind in (Kind.RESHAPE, Kind.NEUTRAL) and _is_output(each, layout))
        for each in consumers
    )
