"""The gradient through time: where one parameter is used again and again, each use depending on the one before.

That holds for fused recurrent layers, which are run step by step here, for cells in a loop, and for loops written by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unvanish.tracing.autograd_graph import Graph, Port

FEWEST_STEPS = 3
HORIZON_DECADES = 3.0  # what is left beyond the horizon: a thousandth


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The nodes that use the recurrent parameter `leaf`, one a time step in the order of processing.

    `level[node]` is the last time step that a node depends on, from 1; 0 for none. `state_edges` carry the gradient from the last
    step into the one before, `before` are the nodes that the last step depends on.
    """

    leaf: int
    uses: tuple[int, ...]
    state_edges: frozenset[tuple[int, int]]
    before: frozenset[int]


def recurrences(graph: Graph, consumers: Mapping[Port, Sequence[tuple[int, int]]]) -> list[Recurrence]:
    """Every recurrence of the graph, one for each set of uses; of parameters that share them, the largest. Cost: linear each."""
    found: dict[tuple[int, ...], int] = {}
    for place, leaf in enumerate(graph.leaves):
        if not leaf:
            continue
        uses = _uses(graph, consumers, place)
        if len(uses) < FEWEST_STEPS or not _chained(graph, uses):
            continue
        rival = found.get(uses)
        if rival is None or graph.nodes[rival].variable.numel() < graph.nodes[place].variable.numel():
            found[uses] = place
    return [_recurrence(graph, leaf, uses) for uses, leaf in found.items()]


def rate(log10_sizes: Sequence[float]) -> float:
    """Decades per step on the way back, by least squares over the finite values; negative where the gradient fades, NaN for fewer
    than two.

    The last step, from which the gradient starts, is left out: it holds more than the recurrence's own share.
    """
    values = np.asarray(log10_sizes[:-1] if len(log10_sizes) > FEWEST_STEPS else log10_sizes, dtype=np.float64)
    steps = np.flatnonzero(np.isfinite(values))
    if len(steps) < 2:
        return math.nan
    return -float(np.polyfit(steps, values[steps], 1)[0])


def horizon(decades_per_step: float) -> float | None:
    """Steps back beyond which less than a thousandth of the gradient is left; None where it does not fade."""
    return HORIZON_DECADES / -decades_per_step if decades_per_step < 0.0 else None


def _uses(graph: Graph, consumers: Mapping[Port, Sequence[tuple[int, int]]], leaf: int) -> tuple[int, ...]:
    """The nodes with several inputs that a leaf enters, directly or through views of it, in the order of the forward pass."""
    found: set[int] = set()
    stack: list[Port] = [(leaf, 0)]
    while stack:
        for consumer, _ in consumers.get(stack.pop(), ()):
            if sum(port is not None for port in graph.inputs[consumer]) > 1:
                found.add(consumer)
            else:
                stack.append((consumer, 0))
    return tuple(sorted(found, reverse=True))


def _levels(graph: Graph, uses: Sequence[int]) -> list[int]:
    """For every node the last use, from 1, that it is or depends on."""
    number = {node: i + 1 for i, node in enumerate(uses)}
    levels = [0] * len(graph.nodes)
    for node in range(len(graph.nodes) - 1, -1, -1):
        level = max((levels[port[0]] for port in graph.inputs[node] if port is not None), default=0)
        levels[node] = max(level, number.get(node, 0))
    return levels


def _chained(graph: Graph, uses: Sequence[int]) -> bool:
    """Whether every use depends on the one before it."""
    levels = _levels(graph, uses)
    for i, node in enumerate(uses):
        if i and max((levels[port[0]] for port in graph.inputs[node] if port is not None), default=0) < i:
            return False
    return True


def _recurrence(graph: Graph, leaf: int, uses: tuple[int, ...]) -> Recurrence:
    levels = _levels(graph, uses)
    last = len(uses)
    before: set[int] = set()
    stack = [uses[-1]]
    while stack:
        for port in graph.inputs[stack.pop()]:
            if port is not None and port[0] not in before:
                before.add(port[0])
                stack.append(port[0])
    crossing = frozenset(
        (node, slot)
        for node, ports in enumerate(graph.inputs)
        for slot, port in enumerate(ports)
        if port is not None and levels[node] == last and levels[port[0]] == last - 1 and port[0] in before
    )
    own = frozenset((node, slot) for node, slot in crossing if not _gathers(levels, graph.inputs[node], last))
    return Recurrence(leaf, uses, own or crossing, frozenset(before))


def _gathers(levels: Sequence[int], ports: Sequence[Port | None], last: int) -> bool:
    """Whether a node of the last step also takes earlier steps' states: such a node (a stack of all states) reads the recurrence
    from outside, and is no part of it."""
    return any(port is not None and 0 < levels[port[0]] < last - 1 for port in ports)
