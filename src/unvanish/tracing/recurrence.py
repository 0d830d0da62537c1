"""Finds recurrences: parameters that are used again and again, each use depending on the one before; fits how gradients fade there.

Fused recurrent layers, which are run step by step here, cells in a loop, and loops written by hand all count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unvanish.tracing.autograd_graph import AutogradGraph, Edge, Port

MIN_STEPS = 3
HORIZON_DECADES = 3.0  # what is left beyond the horizon: a thousandth


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The nodes that use the recurrent parameter `leaf`, one a time step in the order of processing.

    `state_edges` carry the gradient from the last time step into the one before. `ancestors` are the nodes that the last step
    depends on.
    """

    leaf: int
    uses: tuple[int, ...]
    state_edges: frozenset[Edge]
    ancestors: frozenset[int]


def find_recurrences(graph: AutogradGraph, consumers: Mapping[Port, Sequence[Edge]]) -> list[Recurrence]:
    """Every recurrence of the graph, one for each set of uses; of parameters that share them, the largest. Cost: linear each."""
    leaf_of_uses: dict[tuple[int, ...], int] = {}
    for leaf, is_leaf in enumerate(graph.is_leaf):
        if not is_leaf:
            continue
        uses = _find_uses(graph, consumers, leaf)
        if len(uses) < MIN_STEPS or not _is_chained(graph, uses):
            continue
        present = leaf_of_uses.get(uses)
        if present is None or graph.nodes[present].variable.numel() < graph.nodes[leaf].variable.numel():
            leaf_of_uses[uses] = leaf
    return [_build_recurrence(graph, leaf, uses) for uses, leaf in leaf_of_uses.items()]


def fit_decades_per_step(log10_sizes: Sequence[float]) -> float:
    """Decades per step on the way back, by least squares over the finite values; negative where the gradient fades.

    NaN for fewer than two finite values. The last step, from which the gradient starts, is left out: it holds more than the
    recurrence's own share.

    Example:
        >>> round(fit_decades_per_step([-2.0, -1.5, -1.0, -0.5, 0.7]), 6)
        -0.5
    """
    values = np.asarray(log10_sizes[:-1] if len(log10_sizes) > MIN_STEPS else log10_sizes, dtype=np.float64)
    steps = np.flatnonzero(np.isfinite(values))
    if len(steps) < 2:
        return math.nan
    return -float(np.polyfit(steps, values[steps], 1)[0])


def horizon_steps(decades_per_step: float) -> float | None:
    """Steps back beyond which less than a thousandth of the gradient is left; None where it does not fade."""
    return HORIZON_DECADES / -decades_per_step if decades_per_step < 0.0 else None


def _find_uses(graph: AutogradGraph, consumers: Mapping[Port, Sequence[Edge]], leaf: int) -> tuple[int, ...]:
    """The nodes with several inputs that a leaf enters, directly or through views of it, in the order of the forward pass."""
    uses: set[int] = set()
    stack: list[Port] = [(leaf, 0)]
    while stack:
        for consumer, _ in consumers.get(stack.pop(), ()):
            if sum(port is not None for port in graph.inputs[consumer]) > 1:
                uses.add(consumer)
            else:
                stack.append((consumer, 0))
    return tuple(sorted(uses, reverse=True))


def _time_levels(graph: AutogradGraph, uses: Sequence[int]) -> list[int]:
    """For every node the last use, from 1, that it is or depends on; 0 for none."""
    step_of_use = {node: i + 1 for i, node in enumerate(uses)}
    levels = [0] * len(graph.nodes)
    for node in range(len(graph.nodes) - 1, -1, -1):
        level = max((levels[port[0]] for port in graph.inputs[node] if port is not None), default=0)
        levels[node] = max(level, step_of_use.get(node, 0))
    return levels


def _is_chained(graph: AutogradGraph, uses: Sequence[int]) -> bool:
    """Whether every use depends on the one before it."""
    levels = _time_levels(graph, uses)
    for i, node in enumerate(uses):
        if i and max((levels[port[0]] for port in graph.inputs[node] if port is not None), default=0) < i:
            return False
    return True


def _build_recurrence(graph: AutogradGraph, leaf: int, uses: tuple[int, ...]) -> Recurrence:
    levels = _time_levels(graph, uses)
    last = len(uses)
    ancestors: set[int] = set()
    stack = [uses[-1]]
    while stack:
        for port in graph.inputs[stack.pop()]:
            if port is not None and port[0] not in ancestors:
                ancestors.add(port[0])
                stack.append(port[0])
    crossing = frozenset(
        (node, slot)
        for node, ports in enumerate(graph.inputs)
        for slot, port in enumerate(ports)
        if port is not None and levels[node] == last and levels[port[0]] == last - 1 and port[0] in ancestors
    )
    within = frozenset((node, slot) for node, slot in crossing if not _reads_earlier_steps(levels, graph.inputs[node], last))
    return Recurrence(leaf, uses, within or crossing, frozenset(ancestors))


def _reads_earlier_steps(levels: Sequence[int], ports: Sequence[Port | None], last: int) -> bool:
    """Whether a node of the last step also takes earlier steps' states: such a node (a stack of all states) reads the recurrence
    from outside, and is no part of it."""
    return any(port is not None and 0 < levels[port[0]] < last - 1 for port in ports)
