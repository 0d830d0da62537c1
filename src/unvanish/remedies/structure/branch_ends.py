"""What has to be zero for a residual branch to be zero, so that a gradient still gets in. It alters nothing."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import NORMALISATIONS, WEIGHTED, Kind
from unvanish.remedies.structure.branches import Branch

# They give zero for zero, and let the gradient back through them there.
_TRANSPARENT = frozenset(
    {"tanh", "gelu", "silu", "elu", "celu", "selu", "mish", "softsign", "hardtanh", "hardswish", "leakyrelu", "prelu", "rrelu"}
)
_PASSING = frozenset({"getitem", "cat", "concat", "concatenate", "add", "iadd", "mean", "to"})


@dataclass(frozen=True, slots=True)
class End:
    """A module whose own parameters, all zero, make zero what is put out at `position`."""

    path: str
    module: nn.Module
    position: int


def branch_ends(branch: Branch, layout: ForwardGraph) -> tuple[End, ...] | None:
    """The last layer of a branch, or its last normalisation where that has parameters; several where the branch joins some.

    None where zeros there would not do: behind them comes a sigmoid, which makes 1/2 of zero, or a rectifier, which lets no
    gradient back from zero, or an operation of the user's own. Of two factors one is enough.
    """
    return _ends(branch.end, frozenset(branch.steps), layout)


def _ends(position: int, inside: frozenset[int], layout: ForwardGraph) -> tuple[End, ...] | None:
    if position not in inside:
        return None
    step = layout.steps[position]
    if step.kind in (Kind.WEIGHT, Kind.NORMALISATION):
        return _layer(step, position)
    if not _gives_zero_for_zero(step):
        return None
    found = [_ends(source, inside, layout) for source in step.sources if layout.steps[source].op != PARAMETER]
    known = [each for each in found if each is not None]
    if step.kind is Kind.PRODUCT:
        return known[0] if known else None
    return tuple(end for each in known for end in each) if known and len(known) == len(found) else None


def _layer(step: GraphStep, position: int) -> tuple[End, ...] | None:
    if isinstance(step.module, nn.MultiheadAttention):
        return (End(f"{step.path}.out_proj", step.module.out_proj, position),)
    if (
        isinstance(step.module, (*WEIGHTED, *NORMALISATIONS))
        and dict(step.module.named_parameters(recurse=False)).get("weight") is not None
    ):
        return (End(step.path, step.module, position),)
    return None


def _gives_zero_for_zero(step: GraphStep) -> bool:
    if step.kind is Kind.ACTIVATION:
        return step.op in _TRANSPARENT
    return step.kind is not Kind.OTHER or step.op in _PASSING
