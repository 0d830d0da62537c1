"""Finds the modules at the end of a residual branch whose parameters, set to zero, make the branch zero but keep it trainable."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from unvanish.network.module_kinds import WEIGHTED
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.signal_kinds import NORMALISATIONS, Kind
from unvanish.remedies.structure.branches import Branch

# f(0) = 0, and the slope at 0 is not zero.
_ZERO_PRESERVING = frozenset(
    {"tanh", "gelu", "silu", "elu", "celu", "selu", "mish", "softsign", "hardtanh", "hardswish", "leakyrelu", "prelu", "rrelu"}
)
_ZERO_PRESERVING_CALLS = frozenset({"getitem", "cat", "concat", "concatenate", "add", "iadd", "mean", "to"})


@dataclass(frozen=True, slots=True)
class BranchEnd:
    """A module whose output, at `position` in the graph, is zero when all of its own parameters are."""

    path: str
    module: nn.Module
    position: int


def branch_ends(branch: Branch, graph: ForwardGraph) -> tuple[BranchEnd, ...] | None:
    """The last layer of a branch, or its last normalisation where that has parameters; several where the branch joins several.

    None where zeros there would not help: a sigmoid follows, which is 1/2 at zero, or a rectifier, whose gradient at zero is zero,
    or an unknown operation. For a product, one factor is enough.
    """
    return _find_ends(branch.end, frozenset(branch.steps), graph)


def _find_ends(position: int, branch_steps: frozenset[int], graph: ForwardGraph) -> tuple[BranchEnd, ...] | None:
    if position not in branch_steps:
        return None
    step = graph.steps[position]
    if step.kind in (Kind.WEIGHT, Kind.NORMALISATION):
        return _layer_end(step, position)
    if not _gives_zero_for_zero(step):
        return None
    ends_of_sources = [_find_ends(source, branch_steps, graph) for source in step.sources if graph.steps[source].op != PARAMETER]
    found_ends = [ends for ends in ends_of_sources if ends is not None]
    if step.kind is Kind.PRODUCT:
        return found_ends[0] if found_ends else None
    return tuple(end for ends in found_ends for end in ends) if found_ends and len(found_ends) == len(ends_of_sources) else None


def _layer_end(step: GraphStep, position: int) -> tuple[BranchEnd, ...] | None:
    if isinstance(step.module, nn.MultiheadAttention):
        return (BranchEnd(f"{step.path}.out_proj", step.module.out_proj, position),)
    if (
        isinstance(step.module, (*WEIGHTED, *NORMALISATIONS))
        and dict(step.module.named_parameters(recurse=False)).get("weight") is not None
    ):
        return (BranchEnd(step.path, step.module, position),)
    return None


def _gives_zero_for_zero(step: GraphStep) -> bool:
    if step.kind is Kind.ACTIVATION:
        return step.op in _ZERO_PRESERVING
    return step.kind is not Kind.OTHER or step.op in _ZERO_PRESERVING_CALLS
