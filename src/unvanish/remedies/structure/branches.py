"""Finds residual branches in a forward graph: x + branch(x), with an identity or a projection as the skip.

A sum of two signals that come from one point is a residual sum where one path is a skip and the other, the branch, has weighted
layers. A skip has a route without weights, activations or products, or is a projection: one weighted layer and nothing nonlinear.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph
from unvanish.remedies.graph.signal_kinds import Kind

_SUMS = frozenset({"add", "iadd"})
_TRANSFORMING = (Kind.WEIGHT, Kind.ACTIVATION, Kind.PRODUCT)
MAX_VISITED_STEPS = 1000
"""How many steps are visited to find where two signals part. In a hand-written loop that is the very first input."""

_LEFT, _RIGHT = 1, 2
_BOTH = _LEFT | _RIGHT


@dataclass(frozen=True, slots=True)
class Branch:
    """One residual branch, by positions in the forward graph.

    Arguments:
        sum: the step that adds the branch to the skip.
        end: the last step of the branch.
        steps: all steps of the branch, in order.
        is_normalised: whether a normalisation is on the branch or takes the sum.
    """

    sum: int
    end: int
    steps: tuple[int, ...]
    is_normalised: bool

    def weights(self, graph: ForwardGraph) -> tuple[int, ...]:
        """The positions of the weighted layers on the branch."""
        return tuple(position for position in self.steps if graph.steps[position].kind is Kind.WEIGHT)


@dataclass(frozen=True, slots=True)
class _Path:
    """One of the two paths between the point where signals part and their sum.

    `steps` are on this path alone; `transforming` is the smallest number of weights, activations and products on any of its routes;
    `is_normalised` says whether any route has a normalisation.
    """

    end: int
    steps: tuple[int, ...]
    transforming: int
    is_normalised: bool


@dataclass(frozen=True, slots=True)
class _Fork:
    """Both paths from one point; `is_only_source` where nothing else reaches either end."""

    paths: tuple[_Path, _Path]
    is_only_source: bool


def residual_branches(graph: ForwardGraph) -> tuple[Branch, ...]:
    """The residual branches of a traced graph, in order of their sums; none for an untraced graph.

    Cost: linear in the steps between fork and sum, of which at most MAX_VISITED_STEPS are visited.

    Example:
        >>> from torch import nn
        >>> from unvanish.remedies.graph.trace_graph import trace_graph
        >>> class Block(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.branch = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        ...     def forward(self, x):
        ...         return x + self.branch(x)
        >>> graph = trace_graph(Block())
        >>> [[graph.steps[position].op for position in branch.steps] for branch in residual_branches(graph)]
        [['linear', 'tanh', 'linear']]
    """
    return tuple(_find_branches(graph)) if graph.is_traced else ()


def _find_branches(graph: ForwardGraph) -> Iterator[Branch]:
    for position, step in enumerate(graph.steps):
        if step.op not in _SUMS or step.kind is not Kind.OTHER:
            continue
        signals = [source for source in step.sources if graph.steps[source].op != PARAMETER]
        if len(signals) != 2:
            continue
        path = next((path for fork in _find_forks(signals[0], signals[1], graph) if (path := _branch_path(fork, graph))), None)
        if path is not None:
            is_normalised = path.is_normalised or any(
                graph.steps[consumer].kind is Kind.NORMALISATION for consumer in graph.consumers[position]
            )
            yield Branch(position, path.end, path.steps, is_normalised)


def _branch_path(fork: _Fork, graph: ForwardGraph) -> _Path | None:
    """The path whose counterpart is a skip: an identity, or, where both come from one point alone, a projection. Else None."""
    for path, skip in (fork.paths, fork.paths[::-1]):
        weighted = path.transforming > 0 and any(graph.steps[position].kind is Kind.WEIGHT for position in path.steps)
        if weighted and (skip.transforming == 0 or (fork.is_only_source and _is_projection(skip, path, graph))):
            return path
    return None


def _find_forks(left: int, right: int, graph: ForwardGraph) -> Iterator[_Fork]:
    """The points from which a signal reaches both of two steps, nearest first, with the paths from there.

    Walks back from both steps, latest step first. A fork is a step that both walks reach while all steps left to visit belong to
    one of them: another input of a branch, such as a mask, or a skip that begins earlier.
    """
    sides_by_step = {left: _LEFT}
    sides_by_step[right] = sides_by_step.get(right, 0) | _RIGHT
    fewest_transforming = {(left, _LEFT): 0, (right, _RIGHT): 0}
    queued = Counter(sides_by_step.values())
    queue = [-position for position in sides_by_step]
    heapq.heapify(queue)
    visited: list[int] = []
    while queue and len(visited) < MAX_VISITED_STEPS:
        position = -heapq.heappop(queue)
        side, step = sides_by_step[position], graph.steps[position]
        queued[side] -= 1
        if side == _BOTH and not queued[_BOTH] and not (queued[_LEFT] and queued[_RIGHT]):
            visited_sides = [(visited_position, sides_by_step[visited_position]) for visited_position in visited]
            left_path = _path_to(left, visited_sides, _LEFT, fewest_transforming[position, _LEFT], graph)
            right_path = _path_to(right, visited_sides, _RIGHT, fewest_transforming[position, _RIGHT], graph)
            yield _Fork((left_path, right_path), is_only_source=not queue)
            if not queue:
                return
        visited.append(position)
        for source in step.sources:
            if graph.steps[source].op == PARAMETER:
                continue
            known_sides = sides_by_step.get(source, 0)
            if not known_sides:
                heapq.heappush(queue, -source)
            sides_by_step[source] = known_sides | side
            queued[known_sides] -= 1
            queued[known_sides | side] += 1
            for label in (_LEFT, _RIGHT):
                if side & label:
                    transforming = fewest_transforming[position, label] + (step.kind in _TRANSFORMING)
                    fewest_transforming[source, label] = min(transforming, fewest_transforming.get((source, label), transforming))


def _path_to(end: int, visited: Sequence[tuple[int, int]], side: int, transforming: int, graph: ForwardGraph) -> _Path:
    own_steps = tuple(position for position, label in reversed(visited) if label == side)
    is_normalised = any(label & side and graph.steps[position].kind is Kind.NORMALISATION for position, label in visited)
    return _Path(end, own_steps, transforming, is_normalised)


def _is_projection(skip: _Path, path: _Path, graph: ForwardGraph) -> bool:
    """Whether `skip` is a single layer without nonlinearity, and `path` more than that. Layers that run again are a recurrence."""
    skip_kinds = Counter(graph.steps[position].kind for position in skip.steps)
    branch_kinds = Counter(graph.steps[position].kind for position in path.steps)
    weights = [graph.steps[position].module for position in (*skip.steps, *path.steps) if graph.steps[position].kind is Kind.WEIGHT]
    if any(module is not None and len(graph.positions(module)) > 1 for module in weights):
        return False
    is_single_layer = skip_kinds[Kind.WEIGHT] == 1 and skip_kinds[Kind.ACTIVATION] == skip_kinds[Kind.PRODUCT] == 0
    return is_single_layer and branch_kinds[Kind.WEIGHT] + branch_kinds[Kind.ACTIVATION] > 1
